"""Work on one delivery of an assignment's message, until its execution has ended, waits, or is to be retried."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import assert_never

from agentic_flywheel.backends.models import FlowAnswer
from agentic_flywheel.broker import scripts
from agentic_flywheel.broker.executions import About, Execution, ExecutionEnd
from agentic_flywheel.broker.messages import answer_parcel
from agentic_flywheel.broker.persistence import read_answer, write_to_cache
from agentic_flywheel.broker.records import attempts_of
from agentic_flywheel.broker.stops import read_decided
from agentic_flywheel.broker.wire import NO_FENCE
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import (
    BrokerUnavailable,
    CircuitOpen,
    FlowError,
    FlowTimeout,
    FlywheelError,
    OwnerLimitReached,
    QueryFailed,
    ServerUnreachable,
    TooManyAsk,
    UnknownFlow,
    UploadLost,
    UploadRefused,
)
from agentic_flywheel.models import Answer, WaitReason
from agentic_flywheel.stops import Decided
from workers.assignment import Assignment
from workers.calling import ask_flow
from workers.context import Context
from workers.ending import end_without_flow
from workers.journal import Beginning, TraceJournal
from workers.outcomes import cached_answer, discreet, failure, heard_of, remembered_failure, success, to_remember
from workers.retry import decide
from workers.runtime import Runtime
from workers.stopping import asked_by, flow_that_asked, left_behind, resumed
from workers.telling import Telling
from workers.waiting import WaitingPlaces

logger = logging.getLogger(__name__)

#: An execution may begin this many times more than its flow has attempts. Then the query ends as failed: each beginning
#: without an end means a lost worker, and the message is taken to be the cause.
_LOST_WORKERS = 10


class Delivery:
    """One delivery of an assignment's message."""

    context: Context
    execution: Execution

    def __init__(self, runtime: Runtime, assignment: Assignment) -> None:
        self.runtime, self.assignment = runtime, assignment
        self.query = assignment.query
        self.waiting = WaitingPlaces(runtime.transitions, assignment)
        self.journal = TraceJournal(runtime, assignment.query_id, assignment.query, assignment.part)
        #: Fences of attempts that were given up; their flow may still run.
        self.given_up: tuple[str, ...] = ()
        #: What a person has decided, where this delivery carries that out.
        self.decided: Decided | None = None

    @property
    def flow(self) -> Flow:
        flow = self.assignment.flow
        return flow_that_asked(flow, self.decided) if self.decided else flow

    async def run(self) -> FlywheelError | None:
        """Return the error with which the query, or its part, ended; None where it was answered, waits or had ended."""
        self.context = await self.assignment.compose()
        self.execution = self.assignment.execution(self.context)
        while True:
            begun = await self.runtime.transitions.begin(
                self.execution, self.flow, policy=self.query.cache, attempts_max=self.flow.attempts + _LOST_WORKERS
            )
            match begun:
                case scripts.BeginRun():
                    self._began(begun.about, "run", attempts=begun.attempts)
                    return await self._call(begun)
                case scripts.BeginHit():
                    self._began(begun.about, "hit", stored=begun.answer)
                    await self._serve(begun.answer, stale=False)
                    return None
                case scripts.BeginStale():
                    self._began(begun.about, "stale", stored=begun.answer)
                    await self._serve(begun.answer, stale=True)
                    if begun.fence != NO_FENCE:
                        await self._renew(self.execution.renewal(begun.fence))
                    return None
                case scripts.BeginFailed():
                    self._began(begun.about, "failed", stored=begun.error)
                    error, end = remembered_failure(begun.error, begun.failure)
                    await self._end(end, error=error)
                    return error
                case scripts.BeginGaveUp():
                    self._began(begun.about, "gave_up", stored=begun.error)
                    error, _ = remembered_failure(begun.error, begun.failure)
                    return await self._fall_back(error, 0, transient=False)
                case scripts.BeginFallback():
                    self.assignment.stands_in(begun.asked)
                    self.execution = self.assignment.execution(self.context)._replace(asked=begun.asked)
                case scripts.BeginSpent():
                    self._began(begun.about, "spent")
                    seconds = begun.wait_ms / 1000
                    spent = OwnerLimitReached(begun.owner, "calls_a_day", begun.most, begun.value, seconds)
                    return await self._fail(spent, 0)
                case scripts.BeginExhausted():
                    self._began(begun.about, "exhausted", attempts=begun.attempts)
                    reason = f"{begun.attempts} workers were lost while they ran it"
                    return await self._fail(QueryFailed(self.execution.query_id, "WorkerLost", reason), begun.attempts)
                case scripts.BeginAttach():
                    if await self.waiting.behind_leader(self.execution):
                        return None
                case scripts.BeginBusy():
                    delay_ms = begun.wait_ms + self.runtime.draw.randrange(50, 250)
                    await self.waiting.to_look_again(self.execution, delay_ms)
                    return None
                case scripts.BeginPark():
                    # A fallback has not asked what was decided: the decision waits for the flow that has.
                    if begun.reason == WaitReason.CIRCUIT and self.flow.fallback and not begun.decided:
                        attempts = await attempts_of(self.runtime.batch, self.execution.query_id, self.execution.part)
                        opened = CircuitOpen(self.flow.key, begun.wait_ms / 1000, backend=self.flow.backend)
                        return await self._fall_back(opened, attempts, transient=False)
                    await self.waiting.parked(self.execution, begun.reason)
                    return None
                case scripts.BeginGone():
                    logger.debug("query %s had ended before", self.execution.query_id)
                    await self.runtime.events.message_was_late(self.runtime.batch, self.execution.query_id)
                    return None
                case _:
                    assert_never(begun)

    def _began(self, about: tuple[str, ...], found: str, *, attempts: int = 0, stored: str = "") -> None:
        beginning = Beginning(About(*about), found, attempts, stored)
        self.journal.began(beginning, self.execution, self.context, self.assignment.queue)

    async def _serve(self, stored: str, *, stale: bool) -> None:
        kept = read_answer(stored, self.flow.key)
        answer = cached_answer(self.execution, self.query, self.journal.route, kept, self.context, stale=stale)
        await self._end(success(answer), answer=answer)

    async def _call(self, begun: scripts.BeginRun) -> FlywheelError | None:
        self.execution = self.execution.fenced(begun.fence, begun.lease)
        self.given_up, self.decided = begun.previous, read_decided(begun.decided)
        if self.decided is not None:
            self.execution, self.given_up = resumed(self.execution, self.decided), ()
            self.journal.resumed(self.decided)
        telling = Telling(self.runtime.transitions, self.execution)
        try:
            found = await self._ask(begun.attempts, self.given_up, telling)
        except FlowError as error:
            telling.discard()
            if isinstance(error, FlowTimeout | ServerUnreachable) and not self.decided:
                self.given_up += (begun.fence,)
            return await self._recover(error, begun.attempts)
        except (UploadLost, UploadRefused) as lost:
            telling.discard()
            # It says nothing of the flow, nor of the question with its file: neither is to remember it.
            await self._hand_back()
            execution, queue = self.execution, self.assignment.queue
            about = execution.query_id, execution.part, self.query
            return await end_without_flow(self.runtime, *about, lost, missing=execution.flow_key, queue=queue)
        except asyncio.CancelledError:
            telling.discard()
            if not await self._stopped():
                raise
            return None
        if found.chat_id not in (None, self.execution.chat_id):
            self.given_up += (begun.fence,)  # an earlier attempt's answer came first
        if found.action is not None:
            return await self._stop(found, begun.attempts)
        answer = self.assignment.answer(self.execution, self.journal.route, found, self.context, begun.attempts)
        await self._end(self.assignment.success(answer, found), answer=answer)
        return None

    async def _stop(self, found: FlowAnswer, attempts: int) -> FlywheelError | None:
        """Wait for a person, whom the flow asks."""
        runtime, execution = self.runtime, self.execution
        asked = asked_by(execution, found)
        reply = await runtime.stops.stop(
            execution, self.flow, self.assignment.parcel, asked, queue=self.assignment.queue
        )
        match reply:
            case scripts.StopStopped():
                runtime.events.asking(execution.query_id, execution.part, asked)
                runtime.abort_later(self.flow, execution.query_id, left_behind(self.given_up, execution, asked))
            case scripts.StopFull():
                await runtime.aborting.stopped(self.flow, execution.chat_id)
                return await self._fail(TooManyAsk(self.flow.key, runtime.settings.person_limit), attempts)
            case scripts.StopLate():
                if self.decided is None:  # else whoever has the lease now goes on in the same chat
                    await runtime.aborting.stopped(self.flow, execution.chat_id)
                await self.waiting.to_look_again(execution)
            case scripts.StopGone():
                await runtime.aborting.stopped(self.flow, execution.chat_id)
            case _:
                assert_never(reply)
        return None

    async def _renew(self, renewal: Execution) -> None:
        """Renew a stale answer after it was served. After a failure the old one stays until it expires."""
        self.execution = renewal
        try:
            found = await self._ask(1, (), None)
        except FlowError as said:
            await self._fail(discreet(said) if self.context.private else said, 1)
        except asyncio.CancelledError:
            if not await self._stopped():
                raise
        else:
            if found.action is not None:
                await self._stop(found, 1)
                return
            answer = self.assignment.answer(renewal, self.journal.route, found, self.context, 1)
            await self._end(self.assignment.success(answer, found), answer=answer)

    async def _ask(self, attempts: int, previous: tuple[str, ...], telling: Telling | None) -> FlowAnswer:
        return await ask_flow(
            self.runtime,
            self.flow,
            self.execution,
            self.context,
            self.journal,
            attempts=attempts,
            previous=previous,
            decided=self.decided,
            telling=telling,
        )

    async def _recover(self, error: FlowError, attempts: int) -> FlywheelError | None:
        if self.context.private:
            error = discreet(error)
        flow = self.flow if self.decided is None else self.flow.model_copy(update={"fallback": None})
        decision = decide(error, attempts, flow, self.runtime.draw)
        match decision.action:
            case "retry":
                self.journal.retrying(decision.delay)
                if await self.waiting.for_retry(self.execution, error, decision, attempts):
                    self.runtime.events.retrying(self.execution.query_id, self.execution.part, error)
                return None
            case "fallback":
                return await self._fall_back(error, attempts, transient=error.transient)
            case "fail":
                return await self._fail(error, attempts)
            case _:
                assert_never(decision.action)

    async def _fall_back(self, error: FlywheelError, attempts: int, *, transient: bool) -> FlywheelError | None:
        catalog = self.runtime.catalog
        try:
            fallback = catalog.flow(self.flow.fallback or "")
        except UnknownFlow:
            return await self._fail(error, attempts)
        # Questions that were to share this flow's answer may not share its fallback's, where that reaches fewer people.
        asked = self.execution.asked or self.execution.part or self.flow.key
        answering = catalog.answering_for(asked, fallback)
        gave_up = "" if answering.cache == self.flow.cache else to_remember(error)
        version, kind = self.assignment.version, type(error).__name__
        parcel = answer_parcel(self.execution.query_id, self.query, fallback, self.execution.part, version=version)
        event = {"error_type": kind, "error": error.message, "fallback": fallback.key}
        rerouted = await self.runtime.transitions.reroute(
            self.execution,
            self.flow,
            fallback,
            parcel,
            event=json.dumps(event, ensure_ascii=False),
            error_type=kind,
            transient=transient,
            heard=heard_of(error),
            gave_up=gave_up,
        )
        match rerouted:
            case scripts.RerouteRerouted() | scripts.RerouteGone():
                if isinstance(rerouted, scripts.RerouteRerouted):
                    self.runtime.events.retrying(self.execution.query_id, self.execution.part, error)
                self.runtime.abort_later(self.flow, self.execution.query_id, self.given_up)
                return None
            case scripts.RerouteLate():
                await self.waiting.to_look_again(self.execution)
                return None
            case _:
                assert_never(rerouted)

    async def _fail(self, error: FlywheelError, attempts: int) -> FlywheelError | None:
        answer = self.assignment.substitute(self.execution, self.journal.route)
        if answer is not None:
            logger.warning("query %s is answered without its synthesis: %s", answer.query_id, error.message)
            await self._end(success(answer), answer=answer)
            return None
        await self._end(failure(error, self.execution, self.query, attempts), error=error)
        return error

    async def _stopped(self) -> bool:
        """Return whether the query was stopped. Otherwise the worker shuts down: release the execution."""
        runtime = self.runtime
        if not runtime.leases.was_stopped(self.execution):
            with contextlib.suppress(BrokerUnavailable, TimeoutError):
                await asyncio.shield(asyncio.wait_for(self._hand_back(), 1.0))
            return False
        if (task := asyncio.current_task()) is not None:
            task.uncancel()
        await runtime.aborting.chats(self.flow, [self.execution.chat_id])
        await self._hand_back()
        await self.waiting.to_look_again(self.execution)
        return True

    async def _hand_back(self) -> None:
        """Give up the lease. Its message comes back in any case: the engine, or ``to_look_again``, sees to it."""
        released = await self.runtime.transitions.release(self.execution, self.flow)
        match released:
            case scripts.ReleaseReleased():
                return
            case scripts.ReleaseLate():
                logger.info("query %s is another worker's by now", self.execution.query_id)
            case _:
                assert_never(released)

    async def _end(
        self, end: ExecutionEnd, *, answer: Answer | None = None, error: FlywheelError | None = None
    ) -> None:
        finished = await self.runtime.transitions.finish(self.execution, end, queue=self.assignment.queue)
        if not isinstance(finished, scripts.FinishLate) and self.given_up:
            self.runtime.abort_later(self.flow, self.execution.query_id, self.given_up)
        match finished:
            case scripts.FinishWon():
                self.journal.ended(True, finished.followers, self.execution, answer, error)
            case scripts.FinishGone():
                self.journal.ended(False, finished.followers, self.execution, answer, error)
            case scripts.FinishLate():
                if answer is not None and self.execution.cache_key and end.cached_value:
                    # The answer was paid for. Cache it, so that the query finds it when it is delivered again.
                    await write_to_cache(
                        self.runtime.batch, self.execution.cache_key, answer, self.flow, self.query.asker
                    )
                await self.waiting.to_look_again(self.execution)
            case _:
                assert_never(finished)
