"""Every step of a query's life, each one script: it happens whole or not at all, and only once.

The scripts refuse to leave a terminal state, give each execution a fenced lease, and are safe to repeat when a reply
was lost. This module adds what they need to know of settings and flows; the rules are in ``lua/``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from agentic_flywheel.access.limits import OwnLimits
from agentic_flywheel.asker import Asker
from agentic_flywheel.broker import scripts
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.executions import Execution, ExecutionEnd
from agentic_flywheel.broker.fault_log import FaultLog
from agentic_flywheel.broker.limits import allowance_of, limits_of, place_of
from agentic_flywheel.broker.parcels import Parcel
from agentic_flywheel.broker.sessions import new_life
from agentic_flywheel.broker.wire import NO_FENCE, Heard
from agentic_flywheel.catalog import Flow
from agentic_flywheel.models import Priority, Query
from agentic_flywheel.settings import Settings, server_of

_RANK = {Priority.HIGH: 0, Priority.NORMAL: 1, Priority.LOW: 2}

#: Duration of an execution's lease, in milliseconds. It is renewed every third of it. It is shorter than the visibility
#: time-out, so it has ended before the message is delivered again.
LEASE_MS = 5000
#: Most queries that one call cancels, and most leases that one call renews.
_CANCELLED_AT_ONCE, _RENEWED_AT_ONCE = 200, 500


class Transitions:
    """The steps of all queries on one broker. All raise BrokerUnavailable."""

    def __init__(self, batch: Batch, settings: Settings, *, worker: str = "") -> None:
        """``worker``: name of the worker that sends the traces of queries which it ends; empty: it sends none."""
        self.batch, self._faults = batch, FaultLog()
        self._worker = worker
        self._ttl = int(settings.result_ttl.total_seconds())
        self._session_ttl = int(settings.session_ttl.total_seconds())
        self._letter_ttl = int(settings.dead_letter_ttl.total_seconds())
        self._settings = settings

    async def submit(
        self,
        query_id: str,
        query: Query,
        written: str,
        parcel: Parcel,
        *,
        front: str,
        domain: str | None,
        content: str = "",
        own: OwnLimits | None = None,
    ) -> scripts.SubmitReply:
        """Accept a query, or say why not. ``written`` is its JSON form; ``domain`` the one it names, if any.

        ``content``: the query's digest, where its id is made from the caller's key. ``own``: limits of the token.
        """
        return await scripts.submit(
            self.batch,
            id=query_id,
            owner=query.owner,
            asker=query.asker.named,
            query=written,
            front=front,
            queue=parcel.queue,
            message=parcel.message,
            tag=parcel.tag,
            limit=self._settings.queue_limit,
            **allowance_of(query.owner, self._settings, own),
            span=_span_ms(query),
            ttl=self._ttl,
            policy=query.cache,
            priority=query.priority,
            session=_session(query),
            life=new_life() if query.session_id else "",
            session_ttl=self._session_ttl,
            turns=self._settings.session_turns,
            domain=domain or "",
            profile=query.profile or "",
            blob_ms=_ms(self._settings.upload_ttl.total_seconds()),
            content=content,
        )

    async def adopt(
        self, query_id: str, query: Query, parcel: Parcel, *, due: datetime | None = None, follows: Parcel | None = None
    ) -> scripts.AdoptReply:
        """Record a query that a plain Celery client sent. ``follows``: the message that carries on after its end."""
        return await scripts.adopt(
            self.batch,
            id=query_id,
            owner=query.owner,
            asker=query.asker.named,
            query=query.written(),
            place=parcel.place,
            **allowance_of(query.owner, self._settings),
            deadline=_deadline_ms(query),
            due=str(int(due.timestamp() * 1000)) if due else "",
            continuation=follows.place if follows else "",
            ttl=self._ttl,
            priority=query.priority,
            session=_session(query),
            life=new_life() if query.session_id else "",
            session_ttl=self._session_ttl,
            turns=self._settings.session_turns,
        )

    async def route(
        self,
        query_id: str,
        *,
        version: int,
        route: str,
        flow: Flow,
        intent: str,
        event: str,
        parcels: Mapping[str, Parcel],
        synthesis: Parcel | None = None,
        alone: bool = False,
    ) -> scripts.RouteReply:
        """Store a route and enqueue its messages, of this version, by their part; '' stands for the whole query.

        ``alone``: a flow of the route keeps no answers, so the query's answer is given to no other query.
        """
        return await scripts.route(
            self.batch,
            id=query_id,
            version=version,
            route=route,
            flow=flow.key,
            domain=flow.domain,
            intent=intent,
            event=event,
            synthesis=synthesis.place if synthesis else "",
            alone=alone,
            parts=list(parcels),
            places=[parcel.place for parcel in parcels.values()],
        )

    async def begin(self, execution: Execution, flow: Flow, *, policy: str, attempts_max: int) -> scripts.BeginReply:
        """Ask whether an execution may call its flow now."""
        return await scripts.begin(
            self.batch,
            id=execution.query_id,
            part=execution.part,
            flow=flow.key,
            domain=flow.domain,
            cache_key=execution.cache_key,
            lease=execution.lease,
            lease_ms=LEASE_MS,
            policy=policy,
            stale_ms=_ms(flow.stale_while_revalidate.total_seconds()),
            **limits_of(flow, self._settings),
            attempts_max=attempts_max,
            asked=execution.asked,
        )

    async def attach(self, execution: Execution, parcel: Parcel) -> scripts.AttachReply:
        """Wait for the identical call under way. ``parcel``: the message to enqueue if that call is lost."""
        return await scripts.attach(
            self.batch,
            id=execution.query_id,
            part=execution.part,
            flow=execution.flow_key,
            lease=execution.lease,
            place=parcel.place,
        )

    async def park(
        self, execution: Execution, flow: Flow, parcel: Parcel, *, reason: str, priority: Priority
    ) -> scripts.ParkReply:
        """Keep a message beside its queue until its flow may be called again."""
        return await scripts.park(
            self.batch,
            id=execution.query_id,
            part=execution.part,
            flow=flow.key,
            domain=flow.domain,
            reason=reason,
            rank=_RANK[priority],
            place=parcel.place,
            **limits_of(flow, self._settings),
        )

    async def finish(self, execution: Execution, end: ExecutionEnd, *, queue: str) -> scripts.FinishReply:
        """Write how an execution ended, unless it had ended before or another worker holds its lease."""
        flow = execution.flow
        called = execution.fence != NO_FENCE
        return await scripts.finish(
            self.batch,
            **execution.in_scripts,
            flow=execution.flow_key,
            state=end.state,
            answer=end.answer,
            cached=end.cached,
            error=end.error,
            error_type=end.error_type,
            failure=end.failure,
            cache_key=execution.cache_key,
            cached_value=end.cached_value if called and execution.cache_key else "",
            cache_ms=end.cache_ms,
            stale_ms=_ms(flow.stale_while_revalidate.total_seconds()) if flow else 0,
            flow_most=self._settings.cache_flow_bytes,
            all_most=self._settings.cache_bytes,
            failure_ms=_ms(flow.failure_ttl.total_seconds()) if flow and called else 0,
            transient=end.transient,
            throttled_ms=_ms(end.pause.total_seconds()),
            **place_of(flow, self._settings),
            heard=end.heard,
            queue=queue,
            letter=end.letter,
            letter_ttl=self._letter_ttl,
            worker=self._worker,
            spent=end.spent if called else "",
            currency=end.currency if called else "",
        )

    async def defer(
        self,
        execution: Execution,
        flow: Flow,
        parcel: Parcel,
        *,
        queue: str,
        delay_ms: int,
        event: str,
        throttled_ms: int,
        counted: bool,
        heard: Heard,
    ) -> scripts.DeferReply:
        """Deliver an execution again after ``delay_ms``, because its call failed.

        ``counted``: whether the attempt counts. ``throttled_ms``: for how long the flow asked not to be called.
        """
        return await scripts.defer(
            self.batch,
            **execution.in_scripts,
            flow=flow.key,
            queue=queue,
            place=parcel.place,
            delay_ms=delay_ms,
            event=event,
            throttled_ms=throttled_ms,
            **place_of(flow, self._settings),
            counted=counted,
            heard=heard,
        )

    async def come_back(
        self, execution: Execution, parcel: Parcel, *, queue: str, delay_ms: int
    ) -> scripts.ComeBackReply:
        """Deliver an execution's message once more after ``delay_ms``, without a lease to give up."""
        return await scripts.come_back(
            self.batch, id=execution.query_id, part=execution.part, queue=queue, place=parcel.place, delay_ms=delay_ms
        )

    async def release(self, execution: Execution, flow: Flow) -> scripts.ReleaseReply:
        """Release the lease of an execution, because its worker returns the message."""
        return await scripts.release(
            self.batch, **execution.in_scripts, flow=flow.key, **place_of(flow, self._settings)
        )

    async def reroute(
        self,
        execution: Execution,
        flow: Flow,
        fallback: Flow,
        parcel: Parcel,
        *,
        event: str,
        error_type: str,
        transient: bool,
        heard: Heard = "",
        gave_up: str = "",
    ) -> scripts.RerouteReply:
        """Send an execution to its flow's fallback, after an error of this class."""
        return await scripts.reroute(
            self.batch,
            **execution.in_scripts,
            flow=flow.key,
            domain=flow.domain,
            transient=transient,
            **place_of(flow, self._settings),
            heard=heard,
            fallback=fallback.key,
            fallback_domain=fallback.domain,
            place=parcel.place,
            event=event,
            error_type=error_type,
            gave_up=gave_up,
        )

    async def renew(self, executions: Iterable[Execution]) -> list[str]:
        """Renew the leases of running executions. Returns the names of those that must stop."""
        running = list(executions)
        lost: list[str] = []
        for start in range(0, len(running), _RENEWED_AT_ONCE):
            some = running[start : start + _RENEWED_AT_ONCE]
            renewed = await scripts.renew(
                self.batch,
                lease_ms=LEASE_MS,
                executions=[each.name for each in some],
                leases=[each.lease for each in some],
                fences=[each.fence for each in some],
                flows=[each.flow_key for each in some],
                servers=[server_of(each.flow, self._settings) for each in some],
            )
            lost += renewed.lost
            self._faults.note(renewed.faults)
        return lost

    async def tell(self, execution: Execution, kinds: Sequence[str], data: Sequence[str]) -> scripts.TellReply:
        """Append what a flow tells to the query's stream: kinds of events, and the data of each, JSON."""
        return await scripts.tell(self.batch, **execution.in_scripts, kinds=kinds, data=data)

    async def cancel(self, query_ids: Sequence[str], *, asker: Asker | None, reason: str) -> list[str]:
        """Cancel queries of one asker; None: of any. Returns the state of each before; ``unknown``: another's."""
        owner, named = (asker.owner, asker.named) if asker is not None else ("", "")
        states: list[str] = []
        for start in range(0, len(query_ids), _CANCELLED_AT_ONCE):
            some = query_ids[start : start + _CANCELLED_AT_ONCE]
            cancelled = await scripts.cancel(self.batch, owner=owner, asker=named, reason=reason, ids=some)
            states += cancelled.states
        return states


def _session(query: Query) -> str:
    return query.asker.session_name(query.session_id) if query.session_id else ""


def _deadline_ms(query: Query) -> str:
    return str(int(query.deadline.timestamp() * 1000)) if query.deadline else ""


def _span_ms(query: Query) -> str:
    """Return how long the query has by the clock here, on which its deadline was read. The broker's may be another."""
    return str(_ms((query.deadline - datetime.now(UTC)).total_seconds())) if query.deadline else ""


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
