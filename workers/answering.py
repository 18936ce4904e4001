"""Answer a query, or one part of it, by its flow: cache, lease, admission, call, outcome."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import Any

from agentic_flywheel import wire
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import (
    BrokerUnavailable,
    CircuitOpen,
    ErrorInfo,
    FlowError,
    FlowTimeout,
    FlywheelError,
    InvalidProfile,
    QueryFailed,
    UnknownFlow,
    UnknownProfile,
    rebuild,
)
from agentic_flywheel.flowise import FlowAnswer, FlowCall
from agentic_flywheel.models import Answer, Query
from agentic_flywheel.persistence import generate_cache_key, read_answer
from agentic_flywheel.profiles import Profile, briefing
from agentic_flywheel.records import load_records
from agentic_flywheel.sessions import recent_turns
from agentic_flywheel.transitions import Begun, Execution, Outcome
from workers.context import HISTORY_TURNS, Context, compose
from workers.journal import Journal
from workers.messages import answer_message, place
from workers.outcomes import answer_of, cached_answer, discreet, failure, success
from workers.retry import decide
from workers.runtime import Runtime
from workers.tokens import TokenStream

logger = logging.getLogger(__name__)

#: More beginnings than attempts by so many: the message ends every worker that touches it.
_LOST_WORKERS = 10


async def answer_query(runtime: Runtime, query_id: str, given: Any, flow_key: str, part: str) -> FlywheelError | None:
    """Answer a query, or one part of it, by a flow. Returns the error that it ended with."""
    query = Query.model_validate(given)
    try:
        flow, profile = runtime.catalog.flow(flow_key), runtime.profile_of(query)
    except (UnknownFlow, UnknownProfile, InvalidProfile) as gone:  # a file changed while the query was queued
        execution = Execution(query_id, part, runtime.catalog.default, "", query_id)
        outcome = failure(gone, execution, query, 0)
        finished = await runtime.transitions.finish(execution, outcome, queue=wire.CLASSIFY_QUEUE)
        journal = Journal(runtime, query_id, query, part)
        (record,) = await load_records(runtime.batch, [query_id])
        if record is not None:
            journal.continued(record)
        journal.ended(finished, execution, None, gone)
        return gone
    return await Answering(runtime, query_id, query, flow, part, profile).run()


class Answering:
    """One delivery of one answer task."""

    def __init__(
        self, runtime: Runtime, query_id: str, query: Query, flow: Flow, part: str, profile: Profile | None = None
    ) -> None:
        self.runtime, self.profile = runtime, profile
        self.query_id, self.query, self.flow, self.part = query_id, query, flow, part
        self.queue = wire.domain_queue(flow.domain)
        self.journal = Journal(runtime, query_id, query, part)

    async def run(self) -> FlywheelError | None:
        """Bring the execution to its end, to waiting, or to a retry. Returns the error it ended with."""
        self.context = await self._compose()
        self.execution = self._execution()
        transitions = self.runtime.transitions
        while True:
            begun = await transitions.begin(
                self.execution, policy=self.query.cache, attempts_max=self.flow.attempts + _LOST_WORKERS
            )
            if begun.verdict == "attach":
                if await transitions.attach(self.execution, self._place()) == "again":
                    continue
                return None
            return await self._follow(begun)

    async def _follow(self, begun: Begun) -> FlywheelError | None:
        match begun.verdict:
            case "run":
                self.journal.began(begun, self.execution, self.context, self.queue)
                return await self._call(begun)
            case "hit":
                self.journal.began(begun, self.execution, self.context, self.queue)
                await self._serve(begun, stale=False)
            case "stale":
                self.journal.began(begun, self.execution, self.context, self.queue)
                await self._serve(begun, stale=True)
                if begun.fence != "0":
                    await self._refresh(begun)
            case "failed":
                self.journal.began(begun, self.execution, self.context, self.queue)
                error = rebuild(ErrorInfo.model_validate_json(begun.stored))
                await self._end(
                    Outcome("failed", error=begun.stored, failure=begun.failure, transient=True), error=error
                )
                return error
            case "busy":
                await self._defer(begun.wait_ms + self.runtime.draw.randrange(50, 250))
            case "park":
                await self._park(begun)
            case "exhausted":
                self.journal.began(begun, self.execution, self.context, self.queue)
                error = QueryFailed(
                    self.query_id, "WorkerLost", f"{begun.attempts} workers were lost while they ran it"
                )
                await self._fail(error, begun.attempts)
                return error
            case _:
                logger.debug("query %s had ended before", self.query_id)
        return None

    async def _compose(self) -> Context:
        query, turns = self.query, []
        if query.session_id is not None and self.flow.memory != "none" and not query.history:
            turns = await recent_turns(self.runtime.batch, query.session_id, HISTORY_TURNS)
            if any(turn.private_to is not None for turn in turns):
                # Some may be not for this query: the last ones that are may lie further back.
                turns = await recent_turns(self.runtime.batch, query.session_id, self.runtime.settings.session_turns)
        return compose(query, self.flow, turns, briefing(self.profile, query))

    def _execution(self) -> Execution:
        shared = self.flow.cache and self.query.cache != "bypass"
        name = f"{self.query_id}|{self.part}" if self.part else self.query_id
        key = generate_cache_key(self.query.question, self.flow, config=self.query.config, context=self.context.digest)
        return Execution(self.query_id, self.part, self.flow, key if shared else "", key if shared else name)

    async def _serve(self, begun: Begun, *, stale: bool) -> None:
        kept = read_answer(begun.stored, self.flow.key)
        answer = cached_answer(self.execution, self.query, self.journal.route, kept, self.context, stale=stale)
        await self._end(success(answer, self.flow), answer=answer)

    async def _park(self, begun: Begun) -> None:
        if begun.reason == "circuit" and self.flow.fallback:
            await self._fall_back(CircuitOpen(self.flow.key, begun.wait_ms / 1000), transient=False)
            return
        await self.runtime.transitions.park(
            self.execution, self._place(), reason=begun.reason, priority=self.query.priority
        )

    async def _call(self, begun: Begun) -> FlywheelError | None:
        self.execution = self.execution.fenced(begun.fence)
        tokens = TokenStream(self.runtime.transitions, self.execution)
        try:
            found = await self._ask(begun, tokens)
        except FlowError as error:
            tokens.discard()
            return await self._recover(error, begun.attempts)
        except asyncio.CancelledError:
            tokens.discard()
            if not await self._stopped():
                raise
            return None
        answer = self._answer(found, begun.attempts)
        await self._end(success(answer, self.flow, self.context), answer=answer)
        return None

    def _answer(self, found: FlowAnswer, attempts: int) -> Answer:
        return answer_of(self.execution, self.query, self.journal.route, found, self.context, attempts)

    async def _refresh(self, begun: Begun) -> None:
        """Renew a stale answer after it was served. Nobody waits for it: a failure leaves the old one to its time."""
        self.execution = self.execution._replace(part=f"~refresh.{self.flow.key}").fenced(begun.fence)
        try:
            found = await self._ask(begun, None)
        except FlowError as said:
            error = discreet(said) if self.context.private else said
            await self._end(failure(error, self.execution, self.query, 1), error=error)
        except asyncio.CancelledError:
            if not await self._stopped():
                raise
        else:
            answer = self._answer(found, 1)
            await self._end(success(answer, self.flow, self.context), answer=answer)

    async def _ask(self, begun: Begun, tokens: TokenStream | None) -> FlowAnswer:
        flow, flowise, key = self.flow, self.runtime.flowise, self.runtime.key_of(self.flow)
        with (
            self.runtime.leases.held(self.execution),
            self.journal.attempt(self.execution, self.context, begun) as seen,
        ):
            late = await self._late(begun)
            if late is not None:
                seen.answered(late, late=True)
                return late
            call = FlowCall(
                flow=flow,
                question=self.context.question,
                chat_id=self._chat_id(begun.fence),
                session_id=self.context.session_id,
                config={**self.context.config, **self.context.carried},
                history=self.context.history,
                stream=flow.streaming and await flowise.can_stream(flow),
            )
            try:
                found = await flowise.predict(call, api_key=key, on_token=tokens.push if tokens else None)
            except FlowTimeout:
                late = await self._late(begun)
                if late is None:
                    raise
                found = late
            seen.answered(found)
            if tokens is not None:
                await tokens.close()
            return found

    async def _late(self, begun: Begun) -> FlowAnswer | None:
        """Return the answer that the attempt before got after it was given up; a time-out does not stop a flow."""
        if begun.previous:
            with contextlib.suppress(FlowError):
                key = self.runtime.key_of(self.flow)
                return await self.runtime.flowise.find_answer(self.flow, self._chat_id(begun.previous), api_key=key)
        return None

    async def _recover(self, error: FlowError, attempts: int) -> FlywheelError | None:
        if self.context.private:
            error = discreet(error)
        decision = decide(error, attempts, self.flow, self.runtime.draw)
        if decision.action == "retry":
            event = {"error_type": type(error).__name__, "error": error.message, "attempt": attempts}
            self.journal.retrying(decision.delay)
            await self.runtime.transitions.defer(
                self.execution,
                self._place(),
                queue=self.queue,
                delay_ms=int(decision.delay.total_seconds() * 1000),
                reason="retry",
                event=json.dumps({**event, "delay_s": round(decision.delay.total_seconds(), 3)}),
                transient=True,
                hold_ms=int(decision.hold.total_seconds() * 1000),
                counted=decision.counted,
            )
            return None
        if decision.action == "fallback":
            await self._fall_back(error, transient=error.transient)
            return None
        return await self._give_up(error, attempts)

    async def _give_up(self, error: FlowError, attempts: int) -> FlywheelError | None:
        await self._fail(error, attempts)
        return error

    async def _fall_back(self, error: FlowError, *, transient: bool) -> None:
        try:
            fallback = self.runtime.catalog.flow(self.flow.fallback or "")
        except UnknownFlow:
            await self._fail(error, 1)
            return
        queue, message = answer_message(self.query_id, self.query, fallback, self.part)
        event = {"error_type": type(error).__name__, "error": error.message, "fallback": fallback.key}
        await self.runtime.transitions.reroute(
            self.execution, fallback, message, queue=queue, event=json.dumps(event), transient=transient
        )

    async def _stopped(self) -> bool:
        """Return whether a cancellation was the query's own; a shutdown gives the execution up for the next worker."""
        runtime = self.runtime
        if runtime.leases.was_stopped(self.execution):
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
            with contextlib.suppress(FlowError, TimeoutError):
                async with asyncio.timeout(2):
                    await runtime.flowise.abort(self.flow, self._chat_id(self.execution.fence))
            await runtime.transitions.release(self.execution)
            await self._come_back()
            return True
        with contextlib.suppress(BrokerUnavailable, TimeoutError):
            await asyncio.shield(asyncio.wait_for(runtime.transitions.release(self.execution), 1.0))
        return False

    async def _defer(self, delay_ms: int) -> None:
        await self.runtime.transitions.defer(self.execution, self._place(), queue=self.queue, delay_ms=delay_ms)

    async def _fail(self, error: FlywheelError, attempts: int) -> None:
        await self._end(failure(error, self.execution, self.query, attempts), error=error)

    async def _end(self, outcome: Outcome, *, answer: Answer | None = None, error: FlywheelError | None = None) -> None:
        finished = await self.runtime.transitions.finish(self.execution, outcome, queue=self.queue)
        if finished.late:
            await self._come_back()
            return
        self.journal.ended(finished, self.execution, answer, error)

    async def _come_back(self) -> None:
        """Deliver the message once more, unless its query has ended: whoever has the lease now may not work for it."""
        if not self.execution.part.startswith("~refresh."):
            execution = self.execution.fenced("0")
            await self.runtime.transitions.defer(execution, self._place(), queue=self.queue, delay_ms=500)

    def _place(self) -> str:
        return place(answer_message(self.query_id, self.query, self.flow, self.part))

    def _chat_id(self, fence: str) -> str:
        return f"{self.query_id}-{fence}"
