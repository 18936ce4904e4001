"""Queries that wait for a person: put them aside, find them, and have them go on with the decision.

``lua/shared/stops.lua`` says what their records hold.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from agentic_flywheel.asker import Asker
from agentic_flywheel.broker import scripts, wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.executions import Execution
from agentic_flywheel.broker.limits import place_of
from agentic_flywheel.broker.parcels import Parcel
from agentic_flywheel.catalog import Flow
from agentic_flywheel.settings import Settings
from agentic_flywheel.stops import AskedPerson, Decided, Decision, Stop

#: The fields of a record in which an execution asks a person, and which run of its flow has stopped. Of a part,
#: ``|part`` stands behind each.
_FIELD, _RUN = "asks", "run"
#: For so long a run whose server is away is tried to be ended.
_LEFT_FOR = timedelta(days=30)


class StoppedRun(NamedTuple):
    """A run of a flow that has stopped to ask a person: where it is, whatever the registry says of the flow by now."""

    chat: str
    flow_id: str
    #: As ``server_of`` names it.
    server: str


class Stops:
    """The steps between a flow's stop and its resumption. All raise BrokerUnavailable."""

    def __init__(self, batch: Batch, settings: Settings) -> None:
        self._batch, self._settings = batch, settings

    async def stop(
        self, execution: Execution, flow: Flow, parcel: Parcel, asked: AskedPerson, *, queue: str
    ) -> scripts.StopReply:
        """Have an execution wait for a person. ``parcel``: the message with which it goes on."""
        place = place_of(flow, self._settings)
        return await scripts.stop(
            self._batch,
            id=execution.query_id,
            part=execution.part,
            fence=execution.fence,
            lease=execution.lease,
            flow=flow.key,
            asked=asked.model_dump_json(exclude_defaults=True),
            run=" ".join(StoppedRun(asked.chat_id or "", flow.id, place["server"])),
            place=parcel.place,
            kept_ms=int(self._settings.person_timeout.total_seconds() * 1000),
            most=self._settings.person_limit,
            **place,
            queue=queue,
        )

    async def resume(
        self,
        query_id: str,
        number: int,
        decision: Decision,
        feedback: str,
        *,
        asker: Asker,
        names: Sequence[str] = (),
    ) -> scripts.ResumeReply:
        """Have the execution of this stop go on with a person's decision. ``names``: one of them a worker must have."""
        return await scripts.resume(
            self._batch,
            id=query_id,
            owner=asker.owner,
            asker=asker.named,
            number=number,
            decision=decision,
            feedback=feedback,
            names=names,
        )


async def asking(batch: Batch, asker: Asker) -> list[str]:
    """Return the ids of an asker's queries that wait for a person; those whose time ends first come first."""
    ids: list[str] = await batch.call("ZRANGE", wire.ASKED, 0, -1)
    holders = await asyncio.gather(*(batch.call("HMGET", wire.record_key(each), "asker", "owner") for each in ids))
    return [each for each, (named, owner) in zip(ids, holders, strict=True) if asker.may_see_named(named or owner)]


async def stopped_runs(batch: Batch, query_id: str, parts: Iterable[str]) -> list[StoppedRun]:
    """Return the runs in which a query's executions have stopped last."""
    fields = [f"{_RUN}|{part}" if part else _RUN for part in {"", *parts}]
    noted = await batch.call("HMGET", wire.record_key(query_id), *fields)
    return [StoppedRun(*run.split(" ", 2)) for run in noted if run]


async def leave_run(batch: Batch, run: StoppedRun) -> None:
    """Note a run that nobody may resume any more, until it is known to have ended where it is."""
    await batch.call("ZADD", wire.LEFT_RUNS, "NX", round(time.time() * 1000), " ".join(run))


async def left_runs(batch: Batch, count: int) -> list[StoppedRun]:
    """Return some of the runs that are still to be ended. Those that could not be for long are given up."""
    given_up = round((time.time() - _LEFT_FOR.total_seconds()) * 1000)
    await batch.call("ZREMRANGEBYSCORE", wire.LEFT_RUNS, "-inf", given_up)
    return [StoppedRun(*run.split(" ", 2)) for run in await batch.call("ZRANDMEMBER", wire.LEFT_RUNS, count)]


async def run_ended(batch: Batch, run: StoppedRun) -> None:
    """Forget a run that has ended, or that its server will not end."""
    await batch.call("ZREM", wire.LEFT_RUNS, " ".join(run))


async def who_asks(client: Any) -> dict[str, set[str]]:
    """Return, by query that waits for a person, the parts that ask one; '' is the whole query.

    ``client``: a plain ``Redis``, as the audit has one. Raises redis' own errors.
    """
    found = {}
    for query_id in await client.zrange(wire.ASKED, 0, -1):
        fields = [name.partition("|") for name in await client.hkeys(wire.record_key(query_id))]
        found[query_id] = {part for name, _, part in fields if name == _FIELD}
    return found


def read_stops(fields: Mapping[str, str]) -> tuple[Stop, ...]:
    """Return the stops at which a record's executions wait, by their number."""
    found = []
    for name, value in fields.items():
        kind, _, part = name.partition("|")
        if kind == _FIELD:
            number, since, until, asked, _ = value.split("\n", 4)
            found.append(_stop(asked, int(number), part, since, until))
    return tuple(sorted(found, key=lambda stop: stop.number))


def stop_told(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the event of a stop tells, from what ``stop.lua`` has written.

    An event of an earlier version has the stop's number and part alone.
    """
    if "asked" not in data:
        return dict(data)
    stop = _stop(data["asked"], data["stop"], data["part"], data["since"], data["until"])
    return stop.shown().model_dump(mode="json", exclude_none=True)


def _stop(asked: str, number: int, part: str, since: str, until: str) -> Stop:
    about = AskedPerson.model_validate_json(asked, extra="ignore").model_dump()
    return Stop(**about, number=number, part=part, since=_moment(since), until=_moment(until))


def read_decided(stored: str) -> Decided | None:
    """Return the decision that a call is to carry out; None for an empty text."""
    if not stored:
        return None
    number, decision, since, at, asked, feedback = stored.split("\n", 5)
    choice: Decision = "proceed" if decision == "proceed" else "reject"
    about = AskedPerson.model_validate_json(asked, extra="ignore")
    return Decided(int(number), choice, _moment(since), _moment(at), about, feedback)


def _moment(milliseconds: str) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
