"""Queries that wait for a person: put them aside, find them, and have them go on with the decision.

``lua/shared/stops.lua`` says what their records hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from agentic_flywheel.asker import Asker
from agentic_flywheel.broker import scripts, wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.executions import Execution
from agentic_flywheel.broker.limits import place_of
from agentic_flywheel.broker.parcels import Parcel
from agentic_flywheel.catalog import Flow
from agentic_flywheel.settings import Settings
from agentic_flywheel.stops import AskedPerson, Decided, Decision, Stop

#: The field of a record in which an execution asks a person; of a part, ``|part`` stands behind it.
_FIELD = "asks"


class Stops:
    """The steps between a flow's stop and its resumption. All raise BrokerUnavailable."""

    def __init__(self, batch: Batch, settings: Settings) -> None:
        self._batch, self._settings = batch, settings

    async def stop(
        self, execution: Execution, flow: Flow, parcel: Parcel, asked: AskedPerson, *, queue: str
    ) -> scripts.StopReply:
        """Have an execution wait for a person. ``parcel``: the message with which it goes on."""
        return await scripts.stop(
            self._batch,
            id=execution.query_id,
            part=execution.part,
            fence=execution.fence,
            lease=execution.lease,
            flow=flow.key,
            asked=asked.model_dump_json(exclude_defaults=True),
            place=parcel.place,
            kept_ms=int(self._settings.person_timeout.total_seconds() * 1000),
            most=self._settings.person_limit,
            **place_of(flow, self._settings),
            queue=queue,
        )

    async def resume(
        self, query_id: str, number: int, decision: Decision, feedback: str, *, asker: Asker
    ) -> scripts.ResumeReply:
        """Have the execution of this stop go on with a person's decision."""
        return await scripts.resume(
            self._batch,
            id=query_id,
            owner=asker.owner,
            asker=asker.named,
            number=number,
            decision=decision,
            feedback=feedback,
        )


async def asking(batch: Batch, asker: Asker) -> list[str]:
    """Return the ids of an asker's queries that wait for a person; those whose time ends first come first."""
    ids: list[str] = await batch.call("ZRANGE", wire.ASKED, 0, -1)
    holders = await asyncio.gather(*(batch.call("HMGET", wire.record_key(each), "asker", "owner") for each in ids))
    return [each for each, (named, owner) in zip(ids, holders, strict=True) if asker.may_see_named(named or owner)]


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
            about = AskedPerson.model_validate_json(asked, extra="ignore").model_dump()
            found.append(Stop(**about, number=int(number), part=part, since=_moment(since), until=_moment(until)))
    return tuple(sorted(found, key=lambda stop: stop.number))


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
