"""What a worker did for one query, told to its trace: every step once, the root by whoever wrote the final state."""

from __future__ import annotations

import time
from asyncio import CancelledError
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowError, FlywheelError
from agentic_flywheel.flowise import FlowAnswer
from agentic_flywheel.models import Answer, Decision, Query, Record, Route, State
from agentic_flywheel.persistence import age_of
from agentic_flywheel.tracing import Ended
from agentic_flywheel.tracing.observation import Level
from agentic_flywheel.transitions import About, Begun, Execution, Finished
from workers.context import Context
from workers.runtime import Runtime

now = time.time_ns


class Attempt:
    """One call of a flow, while it runs; recorded at its end, whatever came of it."""

    def __init__(self, journal: Journal, flow: Flow, context: Context, number: int) -> None:
        self.flow, self.context, self.number = flow, context, number
        self.found: FlowAnswer | None = None
        self.late = False
        self.start = 0
        self._journal = journal

    def __enter__(self) -> Self:
        self.start = now()
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        self._journal.attempted(self, error)

    def answered(self, found: FlowAnswer, *, late: bool = False) -> None:
        """Note the answer; ``late``: an earlier attempt had got it after its caller had given up."""
        self.found, self.late = found, late


class Journal:
    """Writes the trace of one delivery."""

    def __init__(self, runtime: Runtime, query_id: str, query: Query, part: str = "") -> None:
        self._runtime = runtime
        self._query_id, self._query, self._part = query_id, query, part
        self._trace = runtime.tracer.trace(
            query_id, session=query.session_id, user=query.user, private=runtime.private(query)
        )
        self._arrived = now()
        self._begun = Begun("gone")
        self._answered_at = 0
        self.route: Decision = _NOWHERE

    def classified(self, route: Route, created_ms: int, began: int, decided: int) -> None:
        """Record the wait for the classification, the classification, and what was selected."""
        self._begun = Begun("gone", About(created=str(created_ms)))
        if not self._trace.recording:
            return
        observe = self._trace.observe
        accepted = min(created_ms * 1_000_000, began)
        observe("queue-wait", start=accepted, end=began, metadata={"queue": "classify"})
        observe(
            "intent-classification",
            start=began,
            end=decided,
            input=self._query.question,
            output={"flow": route.best.flow, "confidence": route.confidence, "scores": route.scores},
            metadata={
                "band": route.band,
                "novelty": route.novelty,
                "reasoning": [f"{each.flow}: {each.detail} ({each.weight:+.2f})" for each in route.evidence],
            },
        )
        observe(
            "flow-selection",
            start=decided,
            end=now(),
            output=[target.flow for target in route.targets],
            metadata={
                "decision": route.decision,
                "reason": route.reason,
                "alternatives": [target.flow for target in route.alternatives],
            },
        )

    def began(self, begun: Begun, execution: Execution, context: Context, queue: str) -> None:
        """Record the wait for the worker, the look into the cache, and the context that was put together."""
        self._begun = begun
        self.route = Decision.model_validate_json(begun.about.route)
        if not self._trace.recording:
            return
        observe, at = self._trace.observe, now()
        # An attempt after another one did not wait since the route was found; see `retrying`.
        if begun.attempts <= 1 and (self._part or not begun.about.started):
            queued = int(begun.about.routed or begun.about.created) * 1_000_000
            where = {"queue": queue, "part": self._part or None}
            observe("queue-wait", start=queued, end=max(queued, self._arrived), metadata=where)
        observe(
            "cache-check",
            start=self._arrived,
            end=at,
            output={"hit": begun.verdict in ("hit", "stale", "failed"), "found": begun.verdict},
            metadata={
                "key": execution.cache_key or None,
                "age_s": age_of(begun.stored, at),
                "part": self._part or None,
                "policy": self._query.cache,
            },
        )
        observe(
            "context",
            start=self._arrived,
            end=at,
            metadata={
                "turns": len(context.history) // 2,
                "part": self._part or None,
                "profile": context.profile,
                "context_type": context.kind,
                "flowise_session": context.session_id,
            },
        )

    def continued(self, record: Record) -> None:
        """Take over what the record tells of the steps before."""
        self.route = record.route or _NOWHERE
        created, routed, started = (
            str(int(moment.timestamp() * 1000)) if moment else ""
            for moment in (record.created, record.routed, record.started)
        )
        self._begun = Begun("run", About("", created, routed, started), attempts=record.attempts)

    def retrying(self, delay: timedelta) -> None:
        """Record the wait before the next attempt; it ends when it is meant to."""
        end = self._answered_at + int(delay.total_seconds() * 1e9)
        self._trace.observe("retry-wait", start=self._answered_at, end=end, metadata={"part": self._part or None})

    def attempt(self, execution: Execution, context: Context, begun: Begun) -> Attempt:
        """Return the record of one call of the flow, to be made within it."""
        return Attempt(self, execution.flow, context, begun.attempts)

    def attempted(self, attempt: Attempt, error: BaseException | None) -> None:
        """Record one call of the flow that has ended."""
        self._answered_at = now()
        if not self._trace.recording:
            return
        flow, found = attempt.flow, attempt.found
        usage = found.usage if found else None
        first = found.first_token if found else None
        self._trace.observe(
            "flow-execution",
            "generation",
            start=attempt.start,
            end=self._answered_at,
            input=attempt.context.question,
            output=(found.data or found.text) if found else None,
            metadata={
                "flow_id": flow.id,
                "flow_key": flow.key,
                "flow_name": flow.title,
                "config_used": attempt.context.config,
                "attempt": attempt.number,
                "part": self._part or None,
                "late_answer": attempt.late or None,
                "status": "ok" if error is None else type(error).__name__,
            },
            model=usage.model if usage else None,
            usage=usage,
            first_token=attempt.start + int(first.total_seconds() * 1e9) if first else None,
            level=_level(error),
            message=_message(error),
        )

    def ended(
        self, finished: Finished, execution: Execution, answer: Answer | None, error: FlywheelError | None
    ) -> None:
        """Record the end of the execution; of the query too, where this was its final state; and of those attached."""
        if self._trace.recording:
            name = "synthesis" if answer is not None and answer.parts else "response-formatting"
            about = {"part": self._part or None}
            self._trace.observe(name, start=self._answered_at or now(), end=now(), metadata=about)
        if finished.won and not execution.part:
            self.root(execution, answer, error)
        if finished.followers:
            self._runtime.trace_attached(finished.followers, self._query_id)

    def root(self, execution: Execution, answer: Answer | None, error: FlywheelError | None) -> None:
        """Record the whole query."""
        if not self._trace.recording:
            self._trace.forgo_root()
            return
        about = self._begun.about
        self._trace.root(
            Ended(
                query_id=self._query_id,
                owner=self._query.user,
                state=State.FAILED if answer is None else State.SUCCEEDED,
                query=self._query,
                route=None if self.route is _NOWHERE else self.route,
                answer=answer,
                error=None if error is None else error.describe(self._query_id),
                flow=execution.flow.key,
                domain=execution.flow.domain,
                attempts=self._begun.attempts,
                created=_moment(about.created) or datetime.fromtimestamp(self._arrived / 1e9, UTC),
                finished=datetime.now(UTC),
            ),
            title=execution.flow.title,
        )


_NOWHERE = Decision.model_construct(targets=(), decision="default", band="low", confidence=0.0)


def _level(error: BaseException | None) -> Level | None:
    if error is None:
        return None
    return "WARNING" if isinstance(error, CancelledError) else "ERROR"


def _message(error: BaseException | None) -> str | None:
    if isinstance(error, CancelledError):
        return "stopped before it had answered"
    return error.message if isinstance(error, FlowError) else None


def _moment(milliseconds: str) -> datetime | None:
    return datetime.fromtimestamp(int(float(milliseconds)) / 1000, UTC) if milliseconds else None
