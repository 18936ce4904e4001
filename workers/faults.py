"""Handle unexpected faults: a task that raises one is tried again a few times, then its query ends as failed."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, assert_never

from celery.exceptions import Reject

from agentic_flywheel.broker import scripts, wire
from agentic_flywheel.broker.records import read_query_of
from agentic_flywheel.broker.refusals import SHUT_OUT
from agentic_flywheel.errors import BrokerRefused, BrokerUnavailable, FlywheelError, UnexpectedFault
from workers.delivered import Delivered
from workers.ending import UNREADABLE, end_without_flow, record_unreadable
from workers.handing_on import NotServedHere, hand_on
from workers.runtime import Runtime

logger = logging.getLogger(__name__)

#: Most unexpected faults of one execution after which it is tried again, with growing pauses.
_MOST = 3


async def survive(
    runtime: Runtime, delivered: Delivered, work: Coroutine[Any, Any, FlywheelError | None]
) -> FlywheelError | None:
    """Return what ``work`` returns. Whatever it raises, the query is handed on, tried again or ends as failed.

    Raises Reject where the broker is away for too long; the message then goes to another worker.
    """
    try:
        try:
            return await work
        except NotServedHere as lack:
            return await hand_on(runtime, delivered, lack)
    except Exception as fault:
        if _is_away(fault):
            raise Reject(str(fault), requeue=True) from None
        fault_id = uuid.uuid4().hex[:12]
        logger.exception("query %s met a fault that nobody foresaw (%s)", delivered.query_id, fault_id)
        try:
            return await _stumble(runtime, delivered, UnexpectedFault(delivered.query_id, _name(fault), fault_id))
        except (BrokerUnavailable, BrokerRefused) as away:
            raise Reject(away.message, requeue=True) from None


def _is_away(fault: Exception) -> bool:
    """Whether the broker could not be asked at all: that is no fault of the query."""
    return isinstance(fault, BrokerUnavailable) or (isinstance(fault, BrokerRefused) and fault.code in SHUT_OUT)


async def _stumble(runtime: Runtime, delivered: Delivered, error: UnexpectedFault) -> FlywheelError | None:
    stumbled = await scripts.stumble(
        runtime.batch,
        id=delivered.query_id,
        part=delivered.part,
        queue=wire.base_of(delivered.queue),
        place=delivered.parcel().place,
        most=_MOST,
    )
    match stumbled:
        case scripts.StumbleAgain():
            runtime.events.retrying(delivered.query_id, delivered.part, error)
            return None
        case scripts.StumbleGone():
            return None
        case scripts.StumbleUnknown():
            # Only its message knew it: there is no query of which it could be a part.
            delivered = replace(delivered, part="")
            await record_unreadable(runtime, delivered.query_id, delivered.parcel(), follows=delivered.follows)
        case scripts.StumbleExhausted():
            pass
        case _:
            assert_never(stumbled)
    query = await read_query_of(runtime.batch, delivered.query_id) or UNREADABLE
    queue = wire.base_of(delivered.queue)
    return await end_without_flow(
        runtime, delivered.query_id, delivered.part, query, error, missing=delivered.flow, queue=queue
    )


def _name(fault: Exception) -> str:
    # Only the class: the text of a fault may contain the question, a key or an address.
    return type(fault).__name__
