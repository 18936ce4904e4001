"""Read a query's record, answer and dead letter. The scripts write them.

All functions that take a ``Batch`` raise BrokerUnavailable. ``patience`` is the number of seconds for which a call is
repeated while the broker is away; None: the batch's own.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import AwareDatetime

from agentic_flywheel.asker import Asker, session_id_of
from agentic_flywheel.broker import wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.persistence import check_cache
from agentic_flywheel.broker.stops import read_stops
from agentic_flywheel.broker.stored import passing_over, read_stored, reading
from agentic_flywheel.errors import (
    DeadlineExceeded,
    ErrorInfo,
    InputRequired,
    NobodyDecided,
    QueryCancelled,
    RecordUnreadable,
    UnknownQuery,
    rebuild,
)
from agentic_flywheel.ids import trace_id_of
from agentic_flywheel.models import Answer, Model, Query, Record, Route, State
from agentic_flywheel.prices import FREE

#: Fields that a record has from its first moment on. What has none of them is no record: what a script left.
_IN_EVERY_RECORD = frozenset({"state", "owner", "query"})
#: Why a query has expired whose flow had asked a person, as `sweep.lua` writes it.
_NOBODY_DECIDED = "a person was asked, and did not decide"
_OUTCOME = (
    "state", "error", "reason", "created", "finished", "session", "attached_to", "cache_key", "flow", "person_ms",
)  # fmt: skip


class DeadLetter(Model):
    """A query whose attempts ran out, kept with everything needed to redrive it."""

    query_id: str
    query: Query
    flow: str
    domain: str
    attempts: int
    error: ErrorInfo
    at: AwareDatetime


async def load_record(batch: Batch, query_id: str, *, asker: Asker | None = None, patience: float = 0.0) -> Record:
    """Return a query's record. Raises UnknownQuery where there is none, or where it is another asker's.

    Without ``asker``, whose record it is does not matter. Raises RecordUnreadable where it is damaged.
    """
    record = await _load(batch, query_id, patience, asker)
    if record is None:
        raise UnknownQuery(query_id)
    return record


async def load_records(batch: Batch, query_ids: Sequence[str], *, patience: float | None = None) -> list[Record | None]:
    """Return the records of several queries; None for each that is not known or has expired.

    Raises RecordUnreadable where one is damaged.
    """
    return list(await asyncio.gather(*(_load(batch, query_id, patience) for query_id in query_ids)))


async def readable_records(
    batch: Batch, query_ids: Sequence[str], *, asker: Asker | None = None
) -> list[Record | None]:
    """Return the records of several queries; None for each that is not known, damaged, or another asker's."""

    async def one(query_id: str) -> Record | None:
        with passing_over("query", query_id):
            return await _load(batch, query_id, None, asker)
        return None

    return list(await asyncio.gather(*map(one, query_ids)))


async def read_query_of(batch: Batch, query_id: str) -> Query | None:
    """Return the query that a record holds; None where there is no record, or it cannot be read."""
    with suppress(RecordUnreadable), reading("query", query_id):
        return read_stored(Query, await batch.call("HGET", wire.record_key(query_id), "query") or "")
    return None


async def attempts_of(batch: Batch, query_id: str, part: str = "") -> int:
    """Return how often a flow was called for a query, or for one part of it, since it was last rerouted."""
    with reading("query", query_id):
        return int(await batch.call("HGET", wire.record_key(query_id), wire.field_of("attempts", part)) or 0)


async def _load(batch: Batch, query_id: str, patience: float | None, asker: Asker | None = None) -> Record | None:
    fields: dict[str, str]
    result: str | None
    with reading("query", query_id):
        fields, result = await asyncio.gather(
            batch.call("HGETALL", wire.record_key(query_id), patience=patience),
            batch.call("GET", wire.result_key(query_id), patience=patience),
        )
    # Another asker is not told that a damaged record is there.
    named = fields.get("asker") or fields.get("owner")
    if fields.keys().isdisjoint(_IN_EVERY_RECORD) or (asker and named and not asker.may_see_named(named)):
        return None
    with reading("query", query_id):
        return await _record(batch, query_id, fields, result)


async def _record(batch: Batch, query_id: str, fields: dict[str, str], result: str | None) -> Record:
    state = State(fields["state"])
    answer = await _answer(batch, query_id, fields, result) if state == State.SUCCEEDED else None
    return Record(
        query_id=query_id,
        owner=fields["owner"],
        state=state,
        query=read_stored(Query, fields["query"]),
        route=read_stored(Route, fields["route"]) if "route" in fields else None,
        answer=answer,
        error=_error(query_id, state, fields),
        reason=fields.get("reason", ""),
        flow=fields.get("flow") or (answer.flow if answer else None),
        domain=fields.get("domain") or (answer.domain if answer else None),
        stops=read_stops(fields),
        last_stop=int(fields.get("stops", 0)),
        attempts=int(fields.get("attempts", 0)),
        attached_to=_leader(fields),
        created=moment_of(fields["created"]),
        routed=moment_of(fields["routed"]) if "routed" in fields else None,
        started=moment_of(fields["started"]) if "started" in fields else None,
        finished=moment_of(fields["finished"]) if "finished" in fields else None,
    )


def _error(query_id: str, state: State, fields: dict[str, str]) -> ErrorInfo | None:
    if "error" in fields:
        return ErrorInfo.model_validate_json(fields["error"]).model_copy(update={"query_id": query_id})
    if state == State.CANCELLED:
        return QueryCancelled(query_id, fields.get("reason") or "asked by its owner").describe(query_id)
    if state == State.EXPIRED:
        stage = fields.get("reason") or "waiting"
        kind = NobodyDecided if stage == _NOBODY_DECIDED else DeadlineExceeded
        return kind(query_id, stage).describe(query_id)
    return None


def needed(record: Record) -> InputRequired:
    """Return the error that tells of a query's first open stop."""
    stop = record.stops[0].shown()
    words = {str(decision): said for decision, said in stop.choices.items()}
    about = (stop.takes_feedback, stop.node, stop.until.isoformat(), stop.part)
    return InputRequired(record.query_id, stop.stop, stop.flow, stop.text, words, *about)


def asked_only(record: Record, flow: str) -> bool:
    """Return whether a query was sent to this flow alone."""
    if record.route is None:
        return record.flow == flow
    return record.route.decision != "clarify" and {target.flow for target in record.route.targets} == {flow}


async def load_outcome(batch: Batch, query_id: str, *, patience: float | None = None) -> Answer | None:
    """Return a query's answer; None while the query is open.

    Raises the error with which the query ended; InputRequired while it waits for a person; UnknownQuery where there is
    no record, RecordUnreadable where it is damaged.
    """
    with reading("query", query_id):
        return await _outcome(batch, query_id, patience)


async def _outcome(batch: Batch, query_id: str, patience: float | None) -> Answer | None:
    about: list[str | None]
    result: str | None
    about, result = await asyncio.gather(
        batch.call("HMGET", wire.record_key(query_id), *_OUTCOME, patience=patience),
        batch.call("GET", wire.result_key(query_id), patience=patience),
    )
    fields = {name: value for name, value in zip(_OUTCOME, about, strict=True) if value is not None}
    if fields.keys().isdisjoint(("state", "created")):
        raise UnknownQuery(query_id)
    state = State(fields["state"])
    if state is State.INPUT_REQUIRED:
        record = await load_record(batch, query_id)
        if record.stops:  # else it was decided in between
            raise needed(record)
    if not state.terminal:
        return None
    if error := _error(query_id, state, fields):
        raise rebuild(error)
    return await _answer(batch, query_id, fields, result)


async def load_result(batch: Batch, query_id: str) -> Any:
    """Return the value that a plain Celery client's ``get()`` returns for an ended query; None while it is open.

    Raises the error that it ended with; UnknownQuery, BrokerUnavailable.
    """
    with reading("query", query_id):
        stored = json.loads(await batch.call("GET", wire.result_key(query_id)) or "{}")
        if stored.get("status") == "SUCCESS":
            return stored["result"]
    answer = await load_outcome(batch, query_id)  # it has failed, so this raises
    return answer and json.loads(answer.written())


def read_told(query_id: str, told: str) -> Answer:
    """Return the answer in the text that was published at a query's end. Raises RecordUnreadable.

    ``lua/shared/ending.lua`` writes that text.
    """
    with reading("query", query_id):
        leader, session, took, answer = told.split("\n", 3)
        return _as_its_own(
            read_stored(Answer, answer),
            query_id,
            session=session_id_of(session) or None,
            leader=leader,
            took=timedelta(milliseconds=int(took)),
        )


async def _answer(batch: Batch, query_id: str, fields: dict[str, str], result: str | None) -> Answer | None:
    """Return the answer of an ended query: from the cache, from Celery's result, or from its leader's result."""
    if "cache_key" in fields:
        answer = await check_cache(batch, fields["cache_key"])
    else:
        if result is None and (leader := _leader(fields)):
            result = await batch.call("GET", wire.result_key(leader))
        answer = Answer.model_validate(json.loads(result)["result"], extra="ignore") if result else None
    if answer is None:
        return None
    return _as_its_own(
        answer,
        query_id,
        session=session_id_of(fields.get("session", "")) or None,
        leader=fields.get("attached_to", ""),
        # Without what a person took to decide.
        took=moment_of(fields["finished"])
        - moment_of(fields["created"])
        - timedelta(milliseconds=int(fields.get("person_ms", 0))),
    )


def _as_its_own(answer: Answer, query_id: str, *, session: str | None, leader: str, took: timedelta) -> Answer:
    """Return a copy of an answer with this query's own ids and times: the answer may come from another query's call."""
    exchange = {} if answer.query_id == query_id else {"chat_id": None, "message_id": None, "cost": FREE}
    return answer.model_copy(
        update={
            **exchange,
            "query_id": query_id,
            "session_id": session,
            "attached_to": leader.partition("|")[0] or None,
            "elapsed": took,
            "trace_id": trace_id_of(query_id),
        }
    )


def _leader(fields: dict[str, str]) -> str | None:
    return fields.get("attached_to", "").partition("|")[0] or None


async def recent_queries(batch: Batch, asker: Asker, *, limit: int = 20) -> list[Record]:
    """Return an asker's latest queries, the newest first; without those whose record is damaged."""
    ids = await batch.call("ZREVRANGE", wire.owned_key(asker.name), 0, limit - 1)
    return [record for record in await readable_records(batch, ids) if record is not None]


async def dead_letters(batch: Batch, *, limit: int = 1000) -> list[DeadLetter]:
    """Return the dead letters, the newest first; without damaged ones."""
    ids = await batch.call("ZREVRANGE", wire.DEAD_LETTERS, 0, limit - 1)
    if not ids:
        return []
    stored = await batch.call("MGET", *map(wire.letter_key, ids))
    found: list[DeadLetter] = []
    for query_id, each in zip(ids, stored, strict=True):
        with passing_over("dead letter", query_id):
            found += [read_stored(DeadLetter, each)] if each else []
    return found


async def load_dead_letter(batch: Batch, query_id: str) -> DeadLetter | None:
    """Return the dead letter of a query, whoever asked it; None where there is none."""
    stored = await batch.call("GET", wire.letter_key(query_id))
    return read_stored(DeadLetter, stored) if stored else None


async def remove_dead_letters(batch: Batch, query_ids: Sequence[str]) -> int:
    """Remove the dead letters of these queries. Returns how many were removed."""
    if not query_ids:
        return 0
    await batch.call("DEL", *map(wire.letter_key, query_ids))
    return int(await batch.call("ZREM", wire.DEAD_LETTERS, *query_ids))


def moment_of(milliseconds: str) -> datetime:
    return datetime.fromtimestamp(int(float(milliseconds)) / 1000, tz=UTC)
