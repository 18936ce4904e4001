"""What is known of a query: its record and its event stream, read. They are written by ``transitions`` alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from agentic_flywheel import wire
from agentic_flywheel.batch import Batch
from agentic_flywheel.errors import DeadlineExceeded, ErrorInfo, QueryCancelled, UnknownQuery, rebuild
from agentic_flywheel.models import Answer, DeadLetter, Event, Query, Record, Route, State, trace_id_of
from agentic_flywheel.persistence import read_answer

_OUTCOME = ("state", "error", "reason", "created", "finished", "session", "attached_to", "cache_key", "flow")


async def load_record(batch: Batch, query_id: str, *, owner: str | None = None, patience: float = 0.0) -> Record:
    """Return a query's record. Raises UnknownQuery, also where it is another owner's; BrokerUnavailable."""
    (record,) = await load_records(batch, [query_id], patience=patience)
    if record is None or (owner is not None and record.owner != owner):
        raise UnknownQuery(query_id)
    return record


async def load_records(batch: Batch, query_ids: Sequence[str], *, patience: float | None = None) -> list[Record | None]:
    """Return the records of several queries, None for those that are not known (any more)."""
    return list(await asyncio.gather(*(_load(batch, query_id, patience) for query_id in query_ids)))


async def _load(batch: Batch, query_id: str, patience: float | None) -> Record | None:
    fields: dict[str, str]
    result: str | None
    fields, result = await asyncio.gather(
        batch.call("HGETALL", wire.record_key(query_id), patience=patience),
        batch.call("GET", wire.result_key(query_id), patience=patience),
    )
    return await _record(batch, query_id, fields, result) if "state" in fields else None


async def _record(batch: Batch, query_id: str, fields: dict[str, str], result: str | None) -> Record:
    state = State(fields["state"])
    answer = await _answer(batch, query_id, fields, result) if state == State.SUCCEEDED else None
    return Record(
        query_id=query_id,
        owner=fields["owner"],
        state=state,
        query=Query.model_validate_json(fields["query"]),
        route=Route.model_validate_json(fields["route"]) if "route" in fields else None,
        answer=answer,
        error=_error(query_id, state, fields),
        reason=fields.get("reason", ""),
        flow=fields.get("flow") or (answer.flow if answer else None),
        domain=fields.get("domain") or (answer.domain if answer else None),
        attempts=int(fields.get("attempts", 0)),
        attached_to=_leader(fields),
        created=_moment(fields["created"]),
        routed=_moment(fields["routed"]) if "routed" in fields else None,
        started=_moment(fields["started"]) if "started" in fields else None,
        finished=_moment(fields["finished"]) if "finished" in fields else None,
    )


def _error(query_id: str, state: State, fields: dict[str, str]) -> ErrorInfo | None:
    if "error" in fields:
        return ErrorInfo.model_validate_json(fields["error"]).model_copy(update={"query_id": query_id})
    if state == State.CANCELLED:
        return QueryCancelled(query_id, fields.get("reason") or "asked by its owner").describe(query_id)
    if state == State.EXPIRED:
        return DeadlineExceeded(query_id, fields.get("reason") or "waiting").describe(query_id)
    return None


def asked_only(record: Record, flow: str) -> bool:
    """Return whether a query went to this flow and to no other."""
    if record.route is None:
        return record.flow == flow
    return record.route.decision != "clarify" and {target.flow for target in record.route.targets} == {flow}


async def load_outcome(batch: Batch, query_id: str, *, patience: float | None = None) -> Answer | None:
    """Return a query's answer, None while it has none. Raises the error that the query ended with; UnknownQuery."""
    about: list[str | None]
    result: str | None
    about, result = await asyncio.gather(
        batch.call("HMGET", wire.record_key(query_id), *_OUTCOME, patience=patience),
        batch.call("GET", wire.result_key(query_id), patience=patience),
    )
    fields = {name: value for name, value in zip(_OUTCOME, about, strict=True) if value is not None}
    if "state" not in fields:
        raise UnknownQuery(query_id)
    state = State(fields["state"])
    if not state.terminal:
        return None
    if error := _error(query_id, state, fields):
        raise rebuild(error)
    return await _answer(batch, query_id, fields, result)


def read_told(query_id: str, told: str) -> Answer:
    """Return the answer that was told with a query's end. The other side is in ``lua/prelude.lua``."""
    leader, session, took, answer = told.split("\n", 3)
    return _as_its_own(
        Answer.model_validate_json(answer),
        query_id,
        session=session or None,
        leader=leader,
        took=timedelta(milliseconds=int(took)),
    )


async def _answer(batch: Batch, query_id: str, fields: dict[str, str], result: str | None) -> Answer | None:
    """Return the answer that a record's fields lead to: Celery's result, or the cached answer that it was served."""
    if "cache_key" in fields:
        stored = await batch.call("GET", fields["cache_key"])
        answer = read_answer(stored, fields.get("flow", "")) if stored else None
    else:
        answer = Answer.model_validate(json.loads(result)["result"]) if result else None
    if answer is None:
        return None
    return _as_its_own(
        answer,
        query_id,
        session=fields.get("session"),
        leader=fields.get("attached_to", ""),
        took=_moment(fields["finished"]) - _moment(fields["created"]),
    )


def _as_its_own(answer: Answer, query_id: str, *, session: str | None, leader: str, took: timedelta) -> Answer:
    """Return an answer, whoever's call it came from, as that of this query."""
    return answer.model_copy(
        update={
            "query_id": query_id,
            "session_id": session,
            "attached_to": leader.partition("|")[0] or None,
            "elapsed": took,
            "trace_id": trace_id_of(query_id),
        }
    )


def _leader(fields: dict[str, str]) -> str | None:
    return fields.get("attached_to", "").partition("|")[0] or None


async def read_events(batch: Batch, query_id: str, after: str = "-") -> list[Event]:
    """Return a query's events after the one of id ``after`` (``-``: from the first)."""
    start = after if after == "-" else f"({after}"
    entries = await batch.call("XRANGE", wire.events_key(query_id), start, "+")
    return [_event(entry_id, fields) for entry_id, fields in entries]


async def recent_queries(batch: Batch, owner: str, *, limit: int = 20) -> list[Record]:
    """Return an owner's latest queries, the newest first."""
    ids = await batch.call("ZREVRANGE", wire.owned_key(owner), 0, limit - 1)
    return [record for record in await load_records(batch, ids) if record is not None]


async def dead_letters(batch: Batch, *, limit: int = 1000) -> list[DeadLetter]:
    """Return the dead letters, the newest first."""
    ids = await batch.call("ZREVRANGE", wire.DEAD_LETTERS, 0, limit - 1)
    if not ids:
        return []
    stored = await batch.call("MGET", *map(wire.letter_key, ids))
    return [DeadLetter.model_validate_json(each) for each in stored if each]


async def remove_dead_letters(batch: Batch, query_ids: Sequence[str]) -> int:
    """Remove dead letters. Returns how many there were."""
    if not query_ids:
        return 0
    await batch.call("DEL", *map(wire.letter_key, query_ids))
    return int(await batch.call("ZREM", wire.DEAD_LETTERS, *query_ids))


def _event(entry_id: str, flat: list[str]) -> Event:
    named: dict[str, Any] = dict(zip(flat[::2], flat[1::2], strict=True))
    return Event(
        id=entry_id,
        kind=named["kind"],
        at=_moment(entry_id.partition("-")[0]),
        data=json.loads(named["data"]),
    )


def _moment(milliseconds: str) -> datetime:
    return datetime.fromtimestamp(int(float(milliseconds)) / 1000, tz=UTC)
