"""What a person does with queries whose flow has stopped and asks: list them, decide."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, assert_never, get_args

from pydantic import TypeAdapter, ValidationError

from agentic_flywheel.broker import scripts
from agentic_flywheel.broker.listing import known_names
from agentic_flywheel.broker.records import load_record, readable_records
from agentic_flywheel.broker.stops import asking
from agentic_flywheel.errors import AlreadyDecided, DecisionNotTaken, InvalidDecision, NothingToDecide, UnknownQuery
from agentic_flywheel.given import Text, fault_of
from agentic_flywheel.models import Record
from agentic_flywheel.naming import RegistryName, profile_named_by, together
from agentic_flywheel.stops import MAX_FEEDBACK, Decision
from producer.connections import Caller, repeated

_TEXT: TypeAdapter[str] = TypeAdapter(Text)


async def resume(caller: Caller, query_id: str, decision: Decision, feedback: str | None, stop: int | None) -> int:
    """Have a query go on with a person's decision. Returns the number of the stop that was decided.

    Raises InvalidDecision, UnknownQuery, NothingToDecide, AlreadyDecided, DecisionNotTaken, BrokerUnavailable.
    """
    said = feedback_of(feedback)
    if decision not in get_args(Decision):
        raise InvalidDecision("decision", f"it should be one of {', '.join(get_args(Decision))}")
    if stop is not None and (type(stop) is not int or stop < 1):
        raise InvalidDecision("stop", "it should be the number of a stop, from 1")
    record = await load_record(caller.shared.batch, query_id, asker=caller.asker, patience=caller.patience)
    number = _the_stop(record) if stop is None else stop
    asked = next((each for each in record.stops if each.number == number), None)
    if said and asked is not None and not asked.feedback:
        raise InvalidDecision("feedback", f"the flow {asked.flow!r} takes no message here: it would not be told of it")
    flow = asked.flow if asked is not None else None
    needed = together(None if flow is None else RegistryName("flow", flow), profile_named_by(record.query))
    decided = await repeated(
        caller,
        lambda: caller.shared.stops.resume(query_id, number, decision, said, asker=caller.asker, names=needed),
    )
    match decided:
        case scripts.ResumeResumed() | scripts.ResumeAlready():
            return number
        case scripts.ResumeDecided():
            raise AlreadyDecided(query_id, number, decided.decision, decided.decision == decision)
        case scripts.ResumeNever():
            if record.stops:
                raise InvalidDecision("stop", f"the query has none of this number; it asks for {_asked(record)}")
            raise NothingToDecide(query_id, record.state)
        case scripts.ResumeUnserved():
            raise DecisionNotTaken(query_id, number, flow or "", record.query.profile or "")
        case scripts.ResumeUnknown():
            raise UnknownQuery(query_id)
        case _:
            assert_never(decided)


async def waiting(caller: Caller, limit: int) -> list[Record]:
    """Return the asker's queries that wait for a person; those whose time ends first come first."""
    ids = await asking(caller.shared.batch, caller.asker)
    found = await readable_records(caller.shared.batch, ids[:limit])
    waits = [record for record in found if record is not None and record.stops]
    served = await known_names(caller.shared.batch, "flow") if waits else None
    return waits if served is None else [_with_served(record, served) for record in waits]


def _with_served(record: Record, served: Collection[str]) -> Record:
    stops = tuple(stop.model_copy(update={"served": stop.flow in served}) for stop in record.stops)
    return record.model_copy(update={"stops": stops})


def _the_stop(record: Record) -> int:
    """Return the number of the stop that is meant where none is named: the first one, else the last decided one.

    A later one has to be named: a decision that is sent again, because its reply was lost, must not be taken for one of
    which nobody was told.
    """
    if record.stops and record.last_stop > 1:
        raise InvalidDecision(
            "stop", f"the query has stopped more than once; name the stop that you decide: {_asked(record)}"
        )
    return record.last_stop


def _asked(record: Record) -> str:
    return ", ".join(f"{stop.number} ({stop.flow})" for stop in record.stops)


def feedback_of(given: Any) -> str:
    """Return what a person says to a flow; '' for nothing. Raises InvalidDecision where it cannot be told."""
    if given is None:
        return ""
    try:
        text = _TEXT.validate_python(given)
    except ValidationError as refused:
        raise InvalidDecision("feedback", fault_of(refused)[1]) from None
    if len(text) > MAX_FEEDBACK:
        raise InvalidDecision("feedback", f"it has {len(text):,} characters, at most {MAX_FEEDBACK:,} are accepted")
    return text
