"""Every step of a query's life, each one script: it happens whole or not at all, and only once.

The scripts refuse to leave a terminal state, give each execution a fenced lease, and are safe to repeat when a reply
was lost. This module only names their arguments and replies; the rules are in ``lua/``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from agentic_flywheel import wire
from agentic_flywheel.batch import Batch, Script
from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.models import Priority, Query
from agentic_flywheel.settings import Settings

_SUBMIT = Script("submit")
_ADOPT = Script("adopt")
_ROUTE = Script("route")
_BEGIN = Script("begin")
_ATTACH = Script("attach")
_PARK = Script("park")
_FINISH = Script("finish")
_DEFER = Script("defer")
_RELEASE = Script("release")
_REROUTE = Script("reroute")
_RENEW = Script("renew")
_TOKENS = Script("tokens")
_CANCEL = Script("cancel")
_SWEEP = Script("sweep")

_RANK = {Priority.HIGH: 0, Priority.NORMAL: 1, Priority.LOW: 2}

#: An execution's lease in milliseconds: renewed at a third of it, and over before its message is delivered again.
LEASE_MS = 5000


@dataclass(frozen=True, slots=True)
class Submitted:
    """What became of a submission. ``answer`` is the cached answer's JSON where it was a hit."""

    outcome: Literal["hit", "attached", "accepted", "exists", "full", "foreign", "profiled"]
    leader: str = ""
    cache_key: str = ""
    answer: str = ""
    length: int = 0
    #: Queries that left the queue within the last minute.
    drained: int = 0
    #: What the session carries; nothing was accepted, since the query is to name it.
    profile: str = ""


class Execution(NamedTuple):
    """One call of a flow for a query, or for one part of a fanned-out query."""

    query_id: str
    part: str
    flow: Flow
    #: Where the answer is kept; empty where this flow, or this query, has no cache.
    cache_key: str
    #: What identical executions share; the execution's own name where nothing is shared.
    lease: str
    fence: str = "0"

    @property
    def name(self) -> str:
        return f"{self.query_id}|{self.part}" if self.part else self.query_id

    def fenced(self, fence: str) -> Execution:
        """Return the execution under the fence of an attempt; "0" for none."""
        return self._replace(fence=fence)


class About(NamedTuple):
    """What the record says of a query that begins. Times are milliseconds since 1970, empty where not yet."""

    route: str = ""
    created: str = ""
    routed: str = ""
    started: str = ""


class Begun(NamedTuple):
    """Whether an execution may call its flow, and if not, why."""

    verdict: Literal["run", "hit", "stale", "failed", "attach", "busy", "park", "gone", "exhausted"]
    about: About = About()
    fence: str = "0"
    #: The fence of the attempt before; empty for the first.
    previous: str = ""
    attempts: int = 0
    #: The stored answer of a hit, or the stored error of a failure, as JSON.
    stored: str = ""
    #: Celery's form of a stored failure.
    failure: str = ""
    leader: str = ""
    reason: str = ""
    wait_ms: int = 0


class Outcome(NamedTuple):
    """How an execution ended. Either ``answer`` or ``error`` is set, both JSON."""

    state: Literal["succeeded", "failed"]
    answer: str = ""
    error: str = ""
    failure: str = "null"
    #: Written beside the answer in the cache.
    cache_metadata: str = "{}"
    transient: bool = False
    hold_ms: int = 0
    #: The dead letter's JSON, where one is to be kept.
    letter: str = ""
    cacheable: bool = True


class Routed(NamedTuple):
    """What became of a route. ``created`` is when the query was accepted, milliseconds since 1970."""

    verdict: Literal["routed", "already", "gone", "unknown"]
    created: int = 0


class Finished(NamedTuple):
    """Whether an outcome was the first, and which attached queries ended by it."""

    won: bool
    #: Another execution has the lease now: nothing was written, and the query may have none that works on it.
    late: bool = False
    followers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did, and after how many milliseconds the next one is due."""

    #: The queries whose traces need a root from this worker: they expired or were cancelled since the last sweep of any
    #: worker, or a worker died that owed it.
    ended: tuple[str, ...]
    moved: int
    pumped: int
    next_ms: int


class Transitions:
    """The steps of all queries on one broker."""

    def __init__(self, batch: Batch, settings: Settings, *, worker: str = "") -> None:
        """``worker``: who traces what it ends; empty for one that traces nothing."""
        self.batch = batch
        self._worker = worker
        self._ttl = int(settings.result_ttl.total_seconds())
        self._session_ttl = int(settings.session_ttl.total_seconds())
        self._turns = settings.session_turns
        self._limit = settings.queue_limit
        self._letter_ttl = int(settings.dead_letter_ttl.total_seconds())

    async def submit(
        self, query_id: str, query: Query, written: str, message: str, *, front: str, domain: str | None
    ) -> Submitted:
        """Accept a query, or say why not. ``written`` is its JSON form; ``domain`` the one it names, if any."""
        reply = await self.batch.run(
            _SUBMIT,
            query_id,
            query.user,
            written,
            front,
            wire.banded(wire.CLASSIFY_QUEUE, query.priority),
            message,
            self._limit,
            _deadline_ms(query),
            self._ttl,
            query.cache,
            query.priority,
            query.session_id or "",
            self._session_ttl,
            self._turns,
            domain or "",
            query.profile or "",
        )
        match reply:
            case ["hit", cache_key, answer]:
                return Submitted("hit", cache_key=cache_key, answer=answer)
            case ["attached", leader]:
                return Submitted("attached", leader=leader)
            case ["full", length, drained]:
                return Submitted("full", length=int(length), drained=int(drained))
            case ["profiled", profile]:
                return Submitted("profiled", profile=profile)
            case _:
                return Submitted(reply[0])

    async def adopt(self, query_id: str, query: Query, message: str) -> Literal["adopted", "held", "exists", "foreign"]:
        """Record a query that a plain Celery client sent."""
        reply = await self.batch.run(
            _ADOPT,
            query_id,
            query.user,
            query.written(),
            wire.banded(wire.CLASSIFY_QUEUE, query.priority),
            message,
            _deadline_ms(query),
            self._ttl,
            query.priority,
            query.session_id or "",
            self._session_ttl,
            self._turns,
        )
        verdict: Literal["adopted", "held", "exists", "foreign"] = reply[0]
        return verdict

    async def route(
        self,
        query_id: str,
        *,
        route: str,
        flow: Flow,
        event: str,
        messages: Sequence[tuple[str, str]],
        synthesis: tuple[str, str] | None = None,
    ) -> Routed:
        """Store a route and enqueue the messages, each with its queue, that answer it."""
        flat = [text for pair in messages for text in pair]
        last = "\n".join(synthesis) if synthesis else ""
        reply = await self.batch.run(_ROUTE, query_id, route, flow.key, flow.domain, event, last, *flat)
        return Routed(reply[0], int(reply[1]) if len(reply) > 1 else 0)

    async def begin(self, execution: Execution, *, policy: str, attempts_max: int) -> Begun:
        """Ask whether an execution may call its flow now."""
        flow = execution.flow
        reply = await self.batch.run(
            _BEGIN,
            execution.query_id,
            execution.part,
            flow.key,
            flow.domain,
            execution.cache_key,
            execution.lease,
            LEASE_MS,
            policy,
            _ms(flow.stale_while_revalidate.total_seconds()),
            flow.concurrency,
            flow.rate or 0,
            attempts_max,
        )
        match reply:
            case ["run", about, fence, attempts, previous]:
                return Begun("run", About(*about), fence=fence, attempts=int(attempts), previous=previous)
            case ["hit", about, answer]:
                return Begun("hit", About(*about), stored=answer)
            case ["stale", about, answer, fence]:
                return Begun("stale", About(*about), stored=answer, fence=fence)
            case ["failed", about, error, failure]:
                return Begun("failed", About(*about), stored=error, failure=failure)
            case ["exhausted", about, attempts]:
                return Begun("exhausted", About(*about), attempts=int(attempts))
            case ["attach", leader]:
                return Begun("attach", leader=leader)
            case ["busy", left]:
                return Begun("busy", wait_ms=int(left))
            case ["park", reason, wait]:
                return Begun("park", reason=reason, wait_ms=int(wait))
            case _:
                return Begun("gone")

    async def attach(self, execution: Execution, place: str) -> Literal["attached", "again", "gone"]:
        """Wait for the identical call under way. ``place`` is the queue and message to come back with."""
        reply = await self.batch.run(
            _ATTACH, execution.query_id, execution.part, execution.flow.key, execution.lease, place
        )
        verdict: Literal["attached", "again", "gone"] = reply[0]
        return verdict

    async def park(self, execution: Execution, place: str, *, reason: str, priority: Priority) -> None:
        """Keep a message beside its queue until its flow may be called again."""
        flow = execution.flow
        await self.batch.run(
            _PARK,
            execution.query_id,
            execution.part,
            flow.key,
            flow.domain,
            reason,
            _RANK[priority],
            place,
            flow.concurrency,
            flow.rate or 0,
        )

    async def finish(self, execution: Execution, outcome: Outcome, *, queue: str) -> Finished:
        """Write an execution's outcome, unless it has ended before or another worker holds its lease."""
        flow = execution.flow
        cached = outcome.cacheable and flow.cache
        reply = await self.batch.run(
            _FINISH,
            execution.query_id,
            execution.part,
            execution.fence,
            execution.lease,
            flow.key,
            flow.domain,
            outcome.state,
            outcome.answer,
            outcome.error,
            outcome.failure,
            execution.cache_key if cached else "",
            outcome.cache_metadata,
            _ms(flow.ttl.total_seconds()) if execution.fence != "0" else 0,
            _ms(flow.stale_while_revalidate.total_seconds()),
            _ms(flow.failure_ttl.total_seconds()) if execution.fence != "0" else 0,
            int(outcome.transient),
            outcome.hold_ms,
            flow.concurrency,
            flow.rate or 0,
            queue,
            outcome.letter,
            self._letter_ttl,
            self._worker,
        )
        return Finished(reply[0] == "won", reply[0] == "late", tuple(reply[1:]))

    async def defer(
        self,
        execution: Execution,
        place: str,
        *,
        queue: str,
        delay_ms: int,
        reason: str = "",
        event: str = "{}",
        transient: bool = False,
        hold_ms: int = 0,
        counted: bool = True,
    ) -> None:
        """Put an execution off for ``delay_ms``. Without ``counted`` the attempt is given back."""
        flow = execution.flow
        await self.batch.run(
            _DEFER,
            execution.query_id,
            execution.part,
            execution.fence,
            execution.lease,
            flow.key,
            flow.domain,
            queue,
            place,
            delay_ms,
            reason,
            event,
            int(transient),
            hold_ms,
            flow.concurrency,
            flow.rate or 0,
            int(not counted),
        )

    async def release(self, execution: Execution) -> None:
        """Give up an execution that its worker hands back."""
        flow = execution.flow
        await self.batch.run(
            _RELEASE,
            execution.query_id,
            execution.part,
            execution.fence,
            execution.lease,
            flow.key,
            flow.domain,
            flow.concurrency,
            flow.rate or 0,
        )

    async def reroute(
        self,
        execution: Execution,
        fallback: Flow,
        message: str,
        *,
        queue: str,
        event: str,
        transient: bool,
        hold_ms: int = 0,
    ) -> None:
        """Send an execution to its flow's fallback."""
        flow = execution.flow
        await self.batch.run(
            _REROUTE,
            execution.query_id,
            execution.part,
            execution.fence,
            execution.lease,
            flow.key,
            flow.domain,
            int(transient),
            hold_ms,
            flow.concurrency,
            flow.rate or 0,
            fallback.key,
            fallback.domain,
            queue,
            message,
            event,
        )

    async def renew(self, executions: Iterable[Execution]) -> list[str]:
        """Renew the leases of running executions. Returns the names of those that must stop."""
        flat = [text for each in executions for text in (each.name, f"{each.lease}#{each.fence}", each.flow.key)]
        lost: list[str] = []
        for start in range(0, len(flat), 1500):
            lost += await self.batch.run(_RENEW, LEASE_MS, *flat[start : start + 1500])
        return lost

    async def tokens(self, execution: Execution, data: str) -> None:
        """Append a batch of tokens, as JSON, to the stream of the query and of those attached to it."""
        await self.batch.run(_TOKENS, execution.query_id, execution.part, execution.fence, execution.lease, data)

    async def cancel(self, query_ids: Sequence[str], *, owner: str, reason: str) -> list[str]:
        """Cancel queries of one owner. Returns each one's state before, ``unknown`` where it is not theirs."""
        states: list[str] = []
        for start in range(0, len(query_ids), 200):
            states += await self.batch.run(_CANCEL, owner, reason, *query_ids[start : start + 200])
        return states

    async def sweep(self, catalog: Catalog) -> Swept:
        """Do what time brings: expire, bring back what is due, let in what was kept waiting."""
        queues = [wire.CLASSIFY_QUEUE, wire.SYNTHESIS_QUEUE, *map(wire.domain_queue, catalog.domains)]
        flows = [
            value
            for flow in catalog.active.values()
            for value in (flow.key, flow.domain, flow.concurrency, flow.rate or 0)
        ]
        ended, moved, pumped, next_ms = await self.batch.run(_SWEEP, 200, self._worker, len(queues), *queues, *flows)
        return Swept(tuple(ended), int(moved), int(pumped), int(next_ms))


def _deadline_ms(query: Query) -> str:
    return str(int(query.deadline.timestamp() * 1000)) if query.deadline else ""


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
