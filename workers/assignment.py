"""Assignments: what one execution has to do. Here it asks a flow for a query's answer, or for one part of it.

``synthesis`` has another kind of assignment.
"""

from __future__ import annotations

from agentic_flywheel.backends.models import FlowAnswer
from agentic_flywheel.broker import wire
from agentic_flywheel.broker.executions import Execution, ExecutionEnd
from agentic_flywheel.broker.messages import answer_parcel
from agentic_flywheel.broker.parcels import Parcel
from agentic_flywheel.broker.persistence import generate_cache_key
from agentic_flywheel.broker.sessions import life_of, recent_turns
from agentic_flywheel.catalog import Flow
from agentic_flywheel.models import Answer, Query, RouteDecision, Turn
from agentic_flywheel.profiles import Profile, briefing
from workers.context import Context, compose
from workers.outcomes import answer_of, of_call, success
from workers.runtime import Runtime


class Assignment:
    """Ask one flow for a query's answer, or for one part of it."""

    def __init__(
        self,
        runtime: Runtime,
        query_id: str,
        query: Query,
        flow: Flow,
        part: str = "",
        profile: Profile | None = None,
        *,
        version: int,
    ) -> None:
        """``version``: that of the query's record, and so of its messages."""
        self.runtime, self.profile, self.version = runtime, profile, version
        self.query_id, self.query, self.flow, self.part = query_id, query, flow, part
        if part not in ("", flow.key):
            self.stands_in(part)

    def stands_in(self, asked: str) -> None:
        """Take note that its flow is the fallback of another one, which was asked."""
        self.flow = self.runtime.catalog.answering_for(asked, self.flow)

    @property
    def queue(self) -> str:
        """The base queue of its messages."""
        return wire.domain_queue(self.flow.domain)

    @property
    def parcel(self) -> Parcel:
        """A new message for it, to be sent again."""
        return answer_parcel(self.query_id, self.query, self.flow, self.part, version=self.version)

    async def compose(self) -> Context:
        """Return what the flow is told. Raises BrokerUnavailable."""
        # A flow whose server remembers nothing is sent the turns, as if its `memory` were `history`.
        able = self.runtime.backends.abilities(self.flow)
        there = self.flow.memory == "flowise" and able.session
        life = await life_of(self.runtime.batch, self.query_id) if there and self.query.session_id is not None else ""
        told = briefing(self.profile, self.query)
        return compose(self.query, self.flow, await self._turns(), told, life, takes_history=able.history)

    def execution(self, context: Context) -> Execution:
        """Return the execution, with its cache key and the name of the lease that identical executions share."""
        query_id, query, flow, part = self.query_id, self.query, self.flow, self.part
        if flow.cache == "off" or query.cache == "bypass":
            return Execution(query_id, part, flow, "", f"{query_id}|{part}" if part else query_id)
        key = generate_cache_key(
            query.question,
            flow,
            config=query.config,
            context=context.digest,
            asker=query.asker,
            form=query.form,
            uploads=query.uploads,
        )
        return Execution(query_id, part, flow, key, key)

    def answer(
        self, execution: Execution, route: RouteDecision, found: FlowAnswer, context: Context, attempts: int
    ) -> Answer:
        """Return the answer made from the flow's."""
        return answer_of(execution, self.query, route, found, context, attempts)

    def success(self, answer: Answer, found: FlowAnswer) -> ExecutionEnd:
        """Return the end of an execution whose flow was called: what is kept of its answer, and what the call cost."""
        return of_call(success(answer, (self.flow, self.query.asker)), found, self.runtime.catalog.prices)

    def substitute(self, execution: Execution, route: RouteDecision) -> Answer | None:
        """Return the answer to give where the flow has failed for good; None: the query fails."""
        return None

    async def _turns(self) -> list[Turn]:
        query, runtime = self.query, self.runtime
        if query.session_id is None or self.flow.memory == "none" or query.history:
            return []
        return await recent_turns(runtime.batch, query.session_id, runtime.settings.session_turns, asker=query.asker)
