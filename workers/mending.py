"""What becomes of a query whose message cannot be read: the message is made anew, or the query ends as failed."""

from __future__ import annotations

import logging

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.messages import classify_parcel
from agentic_flywheel.errors import UnreadableQuery
from agentic_flywheel.ids import QUERY_ID
from workers.ending import UNREADABLE, end_without_flow, record_unreadable, store_failure
from workers.engine.envelope import Whose
from workers.reconciling import rebuild
from workers.runtime import Runtime

logger = logging.getLogger(__name__)

#: Messages of one execution that are made anew before it is given up: each was damaged in turn.
_MOST = 2


async def mend(runtime: Runtime, whose: Whose, tag: str, reason: str) -> None:
    """Have the query of a message go on that nobody could read. ``tag`` is the one it was delivered under.

    It may be called twice for one message. What it cannot do, the reconciliation does for a query that has a record.
    """
    try:
        await _mend(runtime, whose, tag, reason)
    except Exception:
        logger.exception("the unreadable message of task %s has left its query as it was", whose.task_id)


async def _mend(runtime: Runtime, whose: Whose, tag: str, reason: str) -> None:
    query_id, _, part = whose.execution.partition("|") if whose.execution else (whose.task_id, "", "")
    error = UnreadableQuery(query_id, reason)
    standing = await runtime.upkeep.standing(query_id, part)
    if standing is None:
        if whose.task == wire.CLASSIFY and not whose.execution:
            await _end_unknown(runtime, query_id, error)
        return
    if standing.version > wire.VERSION:
        return  # the reconciliation of the workers of that version makes it anew
    first_tag, _, _ = tag.partition(wire.REDELIVERY_MARK)
    if not standing.ended and (not standing.mover or standing.mover.endswith(f".{first_tag}")):
        # Else another message moves it by now.
        await rebuild(runtime, standing, most=_MOST, error=error)


async def _end_unknown(runtime: Runtime, query_id: str, error: UnreadableQuery) -> None:
    """End a query that only its message knew."""
    if not QUERY_ID.fullmatch(query_id):
        await store_failure(runtime, query_id, error)
        return
    await record_unreadable(runtime, query_id, classify_parcel(query_id, UNREADABLE, ""))
    await end_without_flow(runtime, query_id, "", UNREADABLE, error, queue=wire.CLASSIFY_QUEUE)
