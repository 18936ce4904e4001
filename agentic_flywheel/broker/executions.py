"""Executions: the unit that the scripts work on, and how it ended."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal, NamedTuple, TypedDict

from agentic_flywheel.broker.wire import NO_FENCE, RENEWAL, Heard
from agentic_flywheel.catalog import Flow
from agentic_flywheel.models import State


class CallInScripts(TypedDict):
    """The arguments by which scripts name one call of an execution."""

    id: str
    part: str
    fence: str
    lease: str


class Execution(NamedTuple):
    """One call of a flow for a query or for one part of a fan-out; or the end of a query without a call."""

    query_id: str
    part: str
    #: None where the query ends without a flow: it was refused, or the flow has left the registry.
    flow: Flow | None
    #: Key of the cached answer; empty where the flow or the query does not use the cache.
    cache_key: str
    #: Name of the lease, the same for identical executions; the execution's own name where nothing is shared.
    lease: str
    fence: str = NO_FENCE
    #: Key of the flow that was named but is not in the registry.
    missing: str = ""
    #: The chat in which a person's decision is told; empty where the flow is asked anew.
    resumed_chat: str = ""
    #: Key of the flow that the whole query was asked of, where this one is known to be its fallback.
    asked: str = ""

    @property
    def name(self) -> str:
        return f"{self.query_id}|{self.part}" if self.part else self.query_id

    @property
    def in_scripts(self) -> CallInScripts:
        return {"id": self.query_id, "part": self.part, "fence": self.fence, "lease": self.lease}

    @property
    def chat_id(self) -> str:
        """The chat that Flowise keeps this attempt under.

        It is the attempt's alone, so that a late answer is found by it; or that of the attempt which asked a person.
        """
        return self.resumed_chat or chat_id(self.query_id, self.fence)

    @property
    def flow_key(self) -> str:
        """Key of the flow, also of a missing one; empty where no flow is concerned."""
        return self.flow.key if self.flow else self.missing

    @property
    def domain(self) -> str:
        return self.flow.domain if self.flow else ""

    @property
    def renews(self) -> bool:
        """Whether it only renews a cached answer. Its query has ended with the stale answer."""
        return self.part.startswith(RENEWAL)

    def fenced(self, fence: str, lease: str | None = None) -> Execution:
        """Return a copy with the fence of one attempt, and the name of the lease that it holds, where that differs."""
        return self._replace(fence=fence, lease=self.lease if lease is None else lease)

    def renewal(self, fence: str) -> Execution:
        """Return the execution that renews the stale answer with which this one ended."""
        return self._replace(part=f"{RENEWAL}{self.flow_key}", fence=fence)


def chat_id(query_id: str, fence: str) -> str:
    """Return the chat of one attempt at a query in Flowise."""
    return f"{query_id}-{fence}"


def without_flow(query_id: str, part: str = "", *, missing: str = "") -> Execution:
    """Return the execution of a query that ends without a call. ``missing``: key of a flow not in the registry."""
    return Execution(query_id, part, None, "", query_id, missing=missing)


def of_no_cache(query_id: str, flow: Flow) -> Execution:
    """Return the execution of a whole query that uses neither the cache nor another query's call."""
    return Execution(query_id, "", flow, "", query_id)


class ExecutionEnd(NamedTuple):
    """How an execution ended. Either ``answer`` or ``error`` is set, both JSON."""

    state: Literal[State.SUCCEEDED, State.FAILED]
    answer: str = ""
    #: Whether the answer came from the cache.
    cached: bool = False
    #: Value for the cache, and its lifetime in milliseconds; empty and 0 where nothing is cached.
    cached_value: str = ""
    cache_ms: int = 0
    error: str = ""
    error_type: str = ""
    #: The error in Celery's form, JSON.
    failure: str = "null"
    #: Whether the same call may succeed later. A transient failure is not cached.
    transient: bool = False
    heard: Heard = ""
    #: The dead letter, JSON; empty where none is to be stored.
    letter: str = ""
    #: What its call has cost, in billionths of the currency's unit; empty: not known, or no currency is named.
    spent: str = ""
    currency: str = ""
    #: For how long the flow asks not to be called, with its answer.
    pause: timedelta = timedelta()


class About(NamedTuple):
    """Fields of the record that ``begin`` returns. Times are milliseconds since 1970; empty where not reached yet."""

    route: str = ""
    created: str = ""
    routed: str = ""
    started: str = ""
