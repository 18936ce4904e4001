"""What a person does with queries whose flow has stopped and asks: list them, decide."""

from __future__ import annotations

from typing import Any, assert_never, get_args

from pydantic import TypeAdapter, ValidationError

from agentic_flywheel.broker import scripts
from agentic_flywheel.broker.records import load_record, readable_records
from agentic_flywheel.broker.stops import asking
from agentic_flywheel.errors import AlreadyDecided, InvalidQuery, NothingToDecide, UnknownQuery
from agentic_flywheel.given import Text, fault_of
from agentic_flywheel.models import Record
from agentic_flywheel.stops import MAX_FEEDBACK, Decision
from producer.connections import Caller, repeated

_TEXT: TypeAdapter[str] = TypeAdapter(Text)


async def resume(caller: Caller, query_id: str, decision: Decision, feedback: str | None, stop: int | None) -> int:
    """Have a query go on with a person's decision. Returns the number of the stop that was decided.

    Raises InvalidQuery, UnknownQuery, NothingToDecide, AlreadyDecided, BrokerUnavailable.
    """
    said = _feedback(feedback)
    if decision not in get_args(Decision):
        raise InvalidQuery("decision", f"it should be one of {', '.join(get_args(Decision))}")
    if stop is not None and (type(stop) is not int or stop < 1):
        raise InvalidQuery("stop", "it should be the number of a stop, from 1")
    record = await load_record(caller.shared.batch, query_id, asker=caller.asker, patience=caller.patience)
    number = _the_stop(record) if stop is None else stop
    decided = await repeated(
        caller, lambda: caller.shared.stops.resume(query_id, number, decision, said, asker=caller.asker)
    )
    match decided:
        case scripts.ResumeResumed() | scripts.ResumeAlready():
            return number
        case scripts.ResumeDecided():
            raise AlreadyDecided(query_id, number, decided.decision)
        case scripts.ResumeNever():
            if record.stops:
                raise InvalidQuery("stop", f"the query has none of this number; it asks for {_asked(record)}")
            raise NothingToDecide(query_id, record.state)
        case scripts.ResumeUnknown():
            raise UnknownQuery(query_id)
        case _:
            assert_never(decided)


async def waiting(caller: Caller, limit: int) -> list[Record]:
    """Return the asker's queries that wait for a person; those whose time ends first come first."""
    ids = await asking(caller.shared.batch, caller.asker)
    found = await readable_records(caller.shared.batch, ids[:limit])
    return [record for record in found if record is not None and record.stops]


def _the_stop(record: Record) -> int:
    """Return the number of the stop that is meant where none is named: the first one, else the last decided one.

    A later one has to be named: a decision that is sent again, because its reply was lost, must not be taken for one of
    which nobody was told.
    """
    if record.stops and record.last_stop > 1:
        said = f"the query asks for more than one decision; name the one that is meant: {_asked(record)}"
        raise InvalidQuery("stop", said)
    return record.last_stop


def _asked(record: Record) -> str:
    return ", ".join(f"{stop.number} ({stop.flow})" for stop in record.stops)


def _feedback(given: Any) -> str:
    if given is None:
        return ""
    try:
        text = _TEXT.validate_python(given)
    except ValidationError as refused:
        raise InvalidQuery("feedback", fault_of(refused)[1]) from None
    if len(text) > MAX_FEEDBACK:
        raise InvalidQuery("feedback", f"it has {len(text):,} characters, at most {MAX_FEEDBACK:,} are accepted")
    return text
