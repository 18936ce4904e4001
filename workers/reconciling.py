"""Keep the rule that every open execution has a mover: check those that are due, and rebuild lost messages."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import assert_never

from agentic_flywheel.broker import scripts, wire
from agentic_flywheel.broker.messages import parcel_of
from agentic_flywheel.broker.records import read_query_of
from agentic_flywheel.broker.upkeep import EXAMINED_AT_ONCE, REBUILDS, Standing
from agentic_flywheel.errors import BrokerUnavailable, ExecutionLost, FlywheelError
from agentic_flywheel.models import Query
from workers.ending import UNREADABLE, end_without_flow
from workers.handing_on import end_newer
from workers.runtime import Runtime

logger = logging.getLogger(__name__)

#: Seconds between two checks: where more queries are due than one check takes, and otherwise.
_BUSY, _IDLE = 0.05, 1.0


async def keep_reconciling(runtime: Runtime) -> None:
    """Check until cancelled. Any number of workers may do so: a check is one script, which also sets the next time."""
    while True:
        found = await runtime.upkeep.examine()
        match found:
            case scripts.ExamineSettling():
                looked = 0
            case scripts.ExamineExamined():
                looked = found.looked
                runtime.faults.note(found.faults)
                runtime.note_ended(found.expired)
                runtime.soon(runtime.aborting.queries(found.expired, runtime.catalog))
                # At the same time, because under full load each call waits for its turn on the loop.
                await asyncio.gather(*(_rebuild_alone(runtime, lost) for lost in _lost(found)))
                runtime.take_up(found.unread)
            case _:
                assert_never(found)
        await asyncio.sleep((_BUSY if looked == EXAMINED_AT_ONCE else _IDLE) * runtime.draw.uniform(0.8, 1.2))


def _lost(found: scripts.ExamineExamined) -> Iterator[Standing]:
    columns = (found.ids, found.parts, found.movers, found.flows, found.stages)
    return map(Standing, *columns, map(int, found.versions))


async def _rebuild_alone(runtime: Runtime, lost: Standing) -> None:
    """Rebuild one execution. A fault of it must not keep the others from being rebuilt. Raises BrokerUnavailable."""
    try:
        await rebuild(runtime, lost)
    except BrokerUnavailable:
        raise
    except Exception:
        logger.exception("query %s %s, which nothing moves, was not rebuilt", lost.query_id, lost.part)


async def rebuild(
    runtime: Runtime, lost: Standing, *, most: int = REBUILDS, error: FlywheelError | None = None
) -> None:
    """Give a lost execution a new message. After ``most`` of them it ends, with ``error`` or as lost.

    Where a later version has recorded it, it ends at once: nobody of that version lives. Raises BrokerUnavailable.
    """
    if lost.version > wire.VERSION:
        await end_newer(runtime, lost.query_id, lost.part, lost.version, wire.CLASSIFY_QUEUE)
        return
    query = await read_query_of(runtime.batch, lost.query_id)
    parcel = parcel_of(
        runtime.catalog, lost.stage, lost.query_id, query or UNREADABLE, lost.flow, lost.part, version=lost.version
    )
    queue = wire.base_of(parcel.queue)
    if query is None:
        unread = ExecutionLost(lost.query_id, "its record is no query any more")
        await _give_up(runtime, lost, UNREADABLE, unread, queue)
        return
    rebuilt = await runtime.upkeep.rebuild(lost.query_id, lost.part, lost.mover, parcel, most=most)
    match rebuilt:
        case scripts.RebuildRebuilt() | scripts.RebuildLinedUp():
            logger.warning("nothing moved query %s %s any more: its message was rebuilt", lost.query_id, lost.part)
        case scripts.RebuildMoved():
            pass
        case scripts.RebuildExhausted():
            again = ExecutionLost(lost.query_id, "its message was lost again and again")
            await _give_up(runtime, lost, query, error or again, queue)
        case _:
            assert_never(rebuilt)


async def _give_up(runtime: Runtime, lost: Standing, query: Query, error: FlywheelError, queue: str) -> None:
    await end_without_flow(runtime, lost.query_id, lost.part, query, error, missing=lost.flow, queue=queue)
