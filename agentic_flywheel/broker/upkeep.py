"""The work of every worker beside its queries: bring back what is due, find executions without a mover, rebuild them.

The rule: every open execution has a mover on which a living worker acts. ``lua/shared/movers.lua`` says how a record
names its mover.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import NamedTuple, assert_never

from agentic_flywheel.broker import scripts, wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.parcels import Parcel
from agentic_flywheel.broker.wire import QueryStage
from agentic_flywheel.catalog import Catalog
from agentic_flywheel.models import State, WaitReason
from agentic_flywheel.settings import Settings, calls_at_once, server_of

#: Most entries of each kind that one sweep handles.
_SWEPT_AT_ONCE = 200
#: Most queries that one ``examine`` checks.
EXAMINED_AT_ONCE = 100
#: Milliseconds between the two checks that find an execution lost, and the longest pause between two checks of a query.
_CONFIRM_MS, _LONGEST_MS = 3000, 600_000
#: Seconds after which a worker says again what its registry has, and milliseconds for which the others believe it.
_ANNOUNCED_EVERY, _ANNOUNCED_FOR = 5.0, 60_000
#: Most rebuilds of one execution. Then it ends as failed: its message may be what ends the workers.
REBUILDS = 8


class Standing(NamedTuple):
    """Where an execution stands, as its record says."""

    query_id: str
    part: str
    #: What moves it, or did; empty where the record names nothing.
    mover: str
    #: Key of its flow; empty where it has none yet.
    flow: str
    stage: str
    #: Its record's version.
    version: int
    ended: bool = False


class Upkeep:
    """One worker's part of this work. All methods raise BrokerUnavailable."""

    def __init__(self, batch: Batch, settings: Settings, *, worker: str, traces: bool) -> None:
        """``worker``: the name in this worker's sign of life. ``traces``: whether it sends traces."""
        self.batch = batch
        self._settings = settings
        self._worker, self._traces = worker, traces
        self._age_ms = _ms(settings.query_age)
        self._patience_ms = _ms(settings.unserved_timeout)
        #: The revision of the registry that was announced last, and when, by the monotonic clock.
        self._announced = ("", 0.0)
        # After a restart of the broker, messages that workers held come back within the visibility time-out.
        self._settle_ms = 2 * _ms(settings.visibility_timeout)

    async def sweep(self, catalog: Catalog, reads: Iterable[str]) -> scripts.SweepReply:
        """Expire overdue queries, bring back what is due, take over traces of dead workers.

        ``reads``: the queues that this worker reads.
        """
        flows = list(catalog.active.values())
        at_once = [calls_at_once(flow, self._settings) for flow in flows]
        return await scripts.sweep(
            self.batch,
            limit=_SWEPT_AT_ONCE,
            worker=self._worker,
            traces=self._traces,
            reads="\n".join(reads),
            flows=[flow.key for flow in flows],
            domains=[flow.domain for flow in flows],
            concurrencies=[flow.concurrency or most for flow, most in zip(flows, at_once, strict=True)],
            rates=[flow.rate or 0 for flow in flows],
            servers=[server_of(flow, self._settings) for flow in flows],
            at_once=at_once,
        )

    async def announce(self, revision: str, names: Callable[[], list[str]]) -> None:
        """Say what this worker's registry has, where that has changed or was said a while ago."""
        said, at = self._announced
        if said == revision and time.monotonic() < at + _ANNOUNCED_EVERY:
            return
        announced = await scripts.announce(self.batch, worker=self._worker, kept_ms=_ANNOUNCED_FOR, names=names())
        match announced:
            case scripts.AnnounceAnnounced():
                self._announced = (revision, time.monotonic())
            case _:
                assert_never(announced)

    async def hand_on(
        self,
        query_id: str,
        part: str,
        parcel: Parcel,
        *,
        flow: str,
        stage: str,
        reason: WaitReason,
        names: Sequence[str],
        version: int,
    ) -> scripts.HandOnReply:
        """Put an execution off for a worker of ``version`` or a later one, whose registry has one of ``names``."""
        return await scripts.hand_on(
            self.batch,
            id=query_id,
            part=part,
            flow=flow,
            stage=stage,
            reason=reason,
            version=version,
            queue=wire.base_of(parcel.queue),
            place=parcel.place,
            patience_ms=self._patience_ms,
            names=names,
        )

    async def hand_back(
        self, query_id: str, part: str, parcel: Parcel, *, delivery: str, version: int
    ) -> scripts.HandBackReply:
        """Put the message of a later version back, which this worker has under the tag ``delivery``."""
        return await scripts.hand_back(
            self.batch,
            id=query_id,
            part=part,
            delivery=delivery,
            version=version,
            queue=wire.base_of(parcel.queue),
            place=parcel.place,
            patience_ms=self._patience_ms,
        )

    async def examine(self) -> scripts.ExamineReply:
        """Check the open queries that are due, at most ``EXAMINED_AT_ONCE``."""
        return await scripts.examine(
            self.batch,
            limit=EXAMINED_AT_ONCE,
            confirm_ms=_CONFIRM_MS,
            longest_ms=_LONGEST_MS,
            age_ms=self._age_ms,
            patience_ms=self._patience_ms,
            settle_ms=self._settle_ms,
        )

    async def rebuild(
        self, query_id: str, part: str, mover: str, parcel: Parcel, *, most: int = REBUILDS
    ) -> scripts.RebuildReply:
        """Enqueue a new message for a lost execution, unless its mover is no longer ``mover``; at most ``most``."""
        return await scripts.rebuild(self.batch, id=query_id, part=part, mover=mover, place=parcel.place, most=most)

    async def standing(self, query_id: str, part: str) -> Standing | None:
        """Return where an execution stands; None if its query has no record."""
        fields = ("state", wire.field_of("at", part), wire.field_of("flow", part), "stage", "v")
        state, mover, flow, stage, version = await self.batch.call("HMGET", wire.record_key(query_id), *fields)
        if state is None:
            return None
        stage = QueryStage.ANSWER if part else stage or QueryStage.CLASSIFY
        return Standing(
            query_id, part, mover or "", flow or part, stage, int(version or 0), ended=State(state).terminal
        )


def _ms(span: timedelta) -> int:
    return int(span.total_seconds() * 1000)
