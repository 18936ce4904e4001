"""Hand on what this worker cannot serve: it lacks a flow or profile that a query names, or a later version recorded it.

Such a query is offered to the workers again after a pause, and uses up no attempt. Only when for a while no worker
lived that could have served it, it ends as failed.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import assert_never

from agentic_flywheel.broker import parcels, scripts, wire
from agentic_flywheel.broker.executions import without_flow
from agentic_flywheel.broker.records import attempts_of, load_records, read_query_of
from agentic_flywheel.errors import (
    FlowNotServed,
    FlywheelError,
    ProfileNotServed,
    UnreadableQuery,
    VersionNotServed,
)
from agentic_flywheel.models import Query, WaitReason
from agentic_flywheel.naming import RegistryName, together
from workers.delivered import Delivered
from workers.ending import UNREADABLE, end_with_error, end_without_flow, store_failure
from workers.engine.newer import NewerMessage
from workers.journal import TraceJournal
from workers.runtime import Runtime

logger = logging.getLogger(__name__)


class NotServedHere(Exception):
    """This worker cannot go on with an execution, but another one may."""

    def __init__(
        self,
        named: RegistryName | None,
        version: int,
        query: Query | None = None,
        *,
        beside: RegistryName | None = None,
        why: str = "",
    ) -> None:
        """``named``: what this worker lacks; None: it is the record's ``version`` that the worker lacks.

        ``query``: what the message is to contain from now on; None: what it does. ``beside``: what a worker must have,
        too. ``why``: of a profile, why this worker cannot use it.
        """
        super().__init__(named, version)
        self.named, self.version, self.query = named, version, query
        self.beside, self.why = beside, why

    @property
    def reason(self) -> WaitReason:
        return WaitReason.VERSION if self.named is None else WaitReason.REGISTRY

    def error(self, seconds: float) -> FlywheelError:
        """Return the error with which it ends when no worker could have gone on with it for so long."""
        if self.named is None:
            return VersionNotServed(self.version, wire.VERSION, seconds)
        if self.named.kind == "profile":
            return ProfileNotServed(self.named.name, seconds, self.why)
        return FlowNotServed(self.named.kind, self.named.name, seconds)


async def hand_on(runtime: Runtime, delivered: Delivered, lack: NotServedHere) -> FlywheelError | None:
    """Offer an execution to other workers; return the error with which it ended, if any. Raises BrokerUnavailable."""
    named, query = lack.named, lack.query
    if query is not None:
        queue = wire.banded(wire.CLASSIFY_QUEUE, query.priority)
        delivered = replace(delivered, args=[json.loads(query.written())], queue=queue)
    what = f"version {lack.version}" if named is None else f"{named.kind} {named.name}"
    reply = await runtime.upkeep.hand_on(
        delivered.query_id,
        delivered.part,
        delivered.parcel(f"waits for a worker with {what}"),
        flow=delivered.flow,
        stage=wire.QueryStage.CLASSIFY if delivered.task == wire.CLASSIFY else wire.QueryStage.ANSWER,
        reason=lack.reason,
        names=() if named is None else together(named, lack.beside),
        version=lack.version,
    )
    match reply:
        case scripts.HandOnWaits():
            logger.info("query %s waits for a worker with %s", delivered.query_id, what)
            return None
        case scripts.HandOnGone() | scripts.HandOnUnknown():
            return None
        case scripts.HandOnUnserved():
            error = lack.error(runtime.settings.unserved_timeout.total_seconds())
            return await _end(runtime, delivered, error)
        case _:
            assert_never(reply)


async def hand_back(runtime: Runtime, message: NewerMessage) -> None:
    """Put the message of a later version back into its queue, after a pause."""
    try:
        await _hand_back(runtime, message)
    except Exception:
        # Its delivery has no lease any more, so it comes back by itself.
        logger.exception("the message of task %s, of version %s, was not handed back", message.task_id, message.version)


async def _hand_back(runtime: Runtime, message: NewerMessage) -> None:
    query_id, _, part = message.execution.partition("|") if message.execution else (message.task_id, "", "")
    parcel = parcels.Parcel(message.queue, message.text, message.tag)
    reply = await runtime.upkeep.hand_back(query_id, part, parcel, delivery=message.delivery, version=message.version)
    match reply:
        case scripts.HandBackWaits() | scripts.HandBackTaken() | scripts.HandBackAsks():
            return
        case scripts.HandBackUnserved():
            logger.critical("a message of version %s is set aside: nobody of that version lives", message.version)
            if reply.open:
                await end_newer(runtime, query_id, part, message.version, wire.base_of(message.queue))
        case scripts.HandBackUnknown():
            logger.critical("a message of version %s is set aside: its query has no record", message.version)
            await store_failure(
                runtime, query_id, UnreadableQuery(query_id, f"it is said to be of version {message.version}")
            )
        case _:
            assert_never(reply)


async def end_newer(runtime: Runtime, query_id: str, part: str, version: int, queue: str) -> None:
    """End what a later version has recorded, because nobody of that version lives. Raises BrokerUnavailable.

    ``queue``: the base queue whose message is done.
    """
    seconds = runtime.settings.unserved_timeout.total_seconds()
    error = VersionNotServed(version, wire.VERSION, seconds)
    # Its record may be no record of this version, so only the question is read.
    query = await read_query_of(runtime.batch, query_id) or UNREADABLE
    await end_without_flow(runtime, query_id, part, query, error, queue=queue)


async def _end(runtime: Runtime, delivered: Delivered, error: FlywheelError) -> FlywheelError:
    query_id, part = delivered.query_id, delivered.part
    query = await read_query_of(runtime.batch, query_id) or UNREADABLE
    journal = TraceJournal(runtime, query_id, query, part)
    (record,) = await load_records(runtime.batch, [query_id])
    if record is not None:
        journal.continued(record)
    attempts = await attempts_of(runtime.batch, query_id, part)
    execution, queue = without_flow(query_id, part, missing=delivered.flow), wire.base_of(delivered.queue)
    await end_with_error(runtime, execution, query, error, journal, attempts=attempts, queue=queue)
    # It may have asked a person before: its run waits at its server.
    runtime.soon(runtime.aborting.queries([query_id], runtime.catalog))
    return error
