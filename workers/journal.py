"""Record what a worker does for one query in its trace. The worker that wrote the final state records the root."""

from __future__ import annotations

import time
from asyncio import CancelledError
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

from pydantic import JsonValue

from agentic_flywheel.backends.models import FlowAnswer
from agentic_flywheel.broker import wire
from agentic_flywheel.broker.executions import About, Execution
from agentic_flywheel.broker.persistence import age_of
from agentic_flywheel.broker.stored import read_stored
from agentic_flywheel.errors import FlowError, FlywheelError
from agentic_flywheel.models import Answer, Query, Record, Route, RouteDecision, State
from agentic_flywheel.stops import Decided
from agentic_flywheel.tracing import EndedQuery
from agentic_flywheel.tracing.observation import Level, new_span_id
from workers.context import Context
from workers.doings import record_doings
from workers.pricing import priced
from workers.runtime import Runtime, nanoseconds

now = time.time_ns


@dataclass(frozen=True, slots=True)
class Beginning:
    """The reply of the script ``begin``, as the trace needs it."""

    about: About
    #: Name of the reply: run, hit, stale, failed, exhausted; empty where the script was not called.
    found: str = ""
    attempts: int = 0
    #: The stored answer or error, JSON.
    stored: str = ""


class Attempt:
    """One call of a flow under way. It is recorded when the ``with`` block ends, also after an error."""

    def __init__(self, journal: TraceJournal, execution: Execution, context: Context, number: int) -> None:
        self.execution, self.context, self.number = execution, context, number
        self.found: FlowAnswer | None = None
        self.late = False
        #: The part of the configuration that the flow uses, and what is to be said of the rest.
        self.config_used: dict[str, JsonValue] = {}
        self.warnings: tuple[str, ...] = ()
        self.start = 0
        self._journal = journal

    def __enter__(self) -> Self:
        self.start = now()
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        self._journal.attempted(self, error)

    def answered(self, found: FlowAnswer, *, late: bool = False) -> FlowAnswer:
        """Note the answer, and return it with what was noted of its configuration, and with its cost.

        ``late``: an attempt got it after its caller had given up.
        """
        self.late = late
        said = (*self.warnings, *found.warnings)
        found = self._journal.priced(found, self.execution)
        if self.config_used or said:
            found = found.model_copy(update={"config_used": self.config_used, "warnings": said})
        self.found = found
        return found


class TraceJournal:
    """Writes the trace of one delivery."""

    def __init__(self, runtime: Runtime, query_id: str, query: Query, part: str = "") -> None:
        self._runtime = runtime
        self._query_id, self._query, self._part = query_id, query, part
        self._trace = runtime.tracer.trace(
            query_id, session=query.session_id, user=query.asker.name, private=runtime.private(query)
        )
        self._arrived = now()
        self._beginning = Beginning(About())
        self._answered_at = 0
        #: The number of the stop after which the flow goes on; 0 where it is asked anew.
        self._resumed = 0
        self.route: RouteDecision = _NOWHERE

    def classified(self, route: Route, created_ms: int, began: int, decided: int) -> None:
        """Record three steps: the wait for the classification, the classification, and the selection of flows."""
        self._beginning = Beginning(About(created=str(created_ms)))
        if not self._trace.recording:
            return
        observe = self._trace.observe
        accepted = min(created_ms * 1_000_000, began)
        observe("queue-wait", start=accepted, end=began, metadata={"queue": wire.CLASSIFY_QUEUE})
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

    def began(self, beginning: Beginning, execution: Execution, context: Context, queue: str) -> None:
        """Record three steps: the wait for the worker, the look into the cache, and the composition of the context."""
        self._beginning, about = beginning, beginning.about
        self.route = read_stored(RouteDecision, about.route)
        if not self._trace.recording:
            return
        observe, at = self._trace.observe, now()
        # Later attempts waited for their retry, which `retrying` has recorded.
        if beginning.attempts <= 1 and (self._part or not about.started):
            queued = int(about.routed or about.created) * 1_000_000
            where = {"queue": queue, "part": self._part or None}
            observe("queue-wait", start=queued, end=max(queued, self._arrived), metadata=where)
        observe(
            "cache-check",
            start=self._arrived,
            end=at,
            output={"hit": beginning.found in ("hit", "stale", "failed"), "found": beginning.found},
            metadata={
                "key": execution.cache_key or None,
                "age_s": age_of(beginning.stored, at),
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
                "turns_left_out": context.left_out,
                "turn_shortened": context.shortened or None,
                "part": self._part or None,
                "profile": context.profile,
                "context_type": context.kind,
                "flowise_session": context.session_id,
            },
        )

    def continued(self, record: Record) -> None:
        """Take the route and times of earlier steps from the record."""
        self.route = record.route or _NOWHERE
        created, routed, started = (
            str(int(moment.timestamp() * 1000)) if moment else ""
            for moment in (record.created, record.routed, record.started)
        )
        self._beginning = Beginning(About("", created, routed, started), attempts=record.attempts)

    def resumed(self, decided: Decided) -> None:
        """Record for how long the flow has waited for a person, and the decision; not what was asked or said."""
        self._resumed = decided.number
        self._trace.observe(
            "person-decision",
            start=nanoseconds(decided.since),
            end=nanoseconds(decided.at),
            output=decided.decision,
            metadata={"stop": decided.number, "node": decided.asked.title, "part": self._part or None},
        )

    def retrying(self, delay: timedelta) -> None:
        """Record the wait before the next attempt. Its end is the planned one."""
        end = self._answered_at + int(delay.total_seconds() * 1e9)
        self._trace.observe("retry-wait", start=self._answered_at, end=end, metadata={"part": self._part or None})

    def attempt(self, execution: Execution, context: Context, number: int) -> Attempt:
        """Return a context manager within which one call of the flow is made. ``number`` counts from 1."""
        return Attempt(self, execution, context, number)

    def priced(self, found: FlowAnswer, execution: Execution) -> FlowAnswer:
        """Return a flow's answer with its cost."""
        return priced(found, execution.flow, self._runtime.catalog.prices) if execution.flow else found

    def attempted(self, attempt: Attempt, error: BaseException | None) -> None:
        """Record an ended call of the flow."""
        self._answered_at = now()
        if not self._trace.recording:
            return
        flow, found = attempt.execution.flow, attempt.found
        usage = found.usage if found else None
        first = found.first_token if found else None
        span_id = new_span_id()
        # Langfuse adds up what the steps tell of tokens: told again here, they would count twice.
        by_step = found is not None and any(step.usage for step in found.steps)
        self._trace.observe(
            "flow-execution",
            "generation",
            start=attempt.start,
            end=self._answered_at,
            span_id=span_id,
            input=attempt.context.question,
            output=(found.data or found.text) if found else None,
            metadata={
                "flow_id": flow.id if flow else None,
                "flow_key": attempt.execution.flow_key,
                "flow_name": flow.title if flow else None,
                "config_used": attempt.config_used,
                "warnings": list(attempt.warnings) or None,
                "attempt": attempt.number,
                "part": self._part or None,
                "resumes_stop": self._resumed or None,
                "late_answer": attempt.late or None,
                "status": "ok" if error is None else type(error).__name__,
            },
            model=usage.model if usage and not by_step else None,
            usage=usage if not by_step else None,
            first_token=attempt.start + int(first.total_seconds() * 1e9) if first else None,
            level=_level(error),
            message=_message(error),
        )
        if found is not None:
            record_doings(self._trace, found, start=attempt.start, end=self._answered_at, parent=span_id)

    def ended(
        self,
        won: bool,
        followers: Sequence[str],
        execution: Execution,
        answer: Answer | None,
        error: FlywheelError | None,
    ) -> None:
        """Record the end of an execution; where its query ended by it, also the roots of query and followers.

        ``won``: whether the query, or its part, ended by it. Flower is told so.
        """
        if self._trace.recording:
            name = "synthesis" if answer is not None and answer.parts else "response-formatting"
            about = {"part": self._part or None}
            self._trace.observe(name, start=self._answered_at or now(), end=now(), metadata=about)
        if won and not execution.part:
            self.root(execution, answer, error)
        if won:
            self._runtime.events.ended(execution, answer, error, accepted=_moment(self._beginning.about.created))
        self._runtime.note_ended(followers)

    def root(self, execution: Execution, answer: Answer | None, error: FlywheelError | None) -> None:
        """Record the root."""
        if not self._trace.recording:
            self._trace.forgo_root()
            return
        about = self._beginning.about
        self._trace.root(
            EndedQuery(
                query_id=self._query_id,
                asker=self._query.asker,
                state=State.FAILED if answer is None else State.SUCCEEDED,
                query=self._query,
                route=None if self.route is _NOWHERE else self.route,
                answer=answer,
                error=None if error is None else error.describe(self._query_id),
                flow=execution.flow_key or None,
                domain=execution.domain or None,
                attempts=self._beginning.attempts,
                created=_moment(about.created) or datetime.fromtimestamp(self._arrived / 1e9, UTC),
                finished=datetime.now(UTC),
            ),
            title=execution.flow.title if execution.flow else None,
        )


_NOWHERE = RouteDecision.model_construct(targets=(), decision="default", band="low", confidence=0.0)


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
