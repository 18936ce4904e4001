"""What tools return of a query: its answer where it is there, else how far it is and what to do next."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from agentic_flywheel.errors import ErrorInfo
from agentic_flywheel.models import Answer, Band, Choice, Model, Record, State, Usage, trace_id_of
from mcp_bridge.arguments import Object
from producer import Submission

#: Seconds after which a poll that does not wait is worth while.
POLL_AFTER = 2.0

QueryIdOut = Annotated[str, Field(description="Names the query: poll it, cancel it, score it, view its trace by it.")]
FlowKeyOut = Annotated[str, Field(description="The flow: give it as flow_override to ask it again.")]


class QueryEnded(Exception):
    """The query that was looked at ended with an error: this one, as the worker or the broker noted it."""

    def __init__(self, info: ErrorInfo) -> None:
        super().__init__(info)
        self.info = info


class ChoiceView(Model):
    """One flow that the user may choose."""

    flow_key: FlowKeyOut
    domain: str
    name: str
    description: str
    confidence: float


class PartView(Model):
    """What one domain contributed."""

    flow_key: FlowKeyOut
    domain: str
    text: str
    cached: bool
    error: str | None = None


class QueryView(Model):
    """One query, wherever it is."""

    query_id: QueryIdOut
    trace_id: Annotated[str, Field(description="For flowise_trace_view.")]
    state: Annotated[State, Field(description="pending, queued, running or waiting; then succeeded, failed …")]
    done: Annotated[bool, Field(description="Whether this is final. If not, call flowise_poll.")]
    next_step: Annotated[str | None, Field(description="What to do next, where there is something to do.")] = None
    kind: Annotated[
        Literal["answer", "clarify"] | None,
        Field(description="clarify: no flow was asked; let the user choose from choices, then ask with flow_override."),
    ] = None
    answer: Annotated[str | None, Field(description="The answer's text.")] = None
    partial_answer: Annotated[str | None, Field(description="What has been streamed so far.")] = None
    choices: tuple[ChoiceView, ...] | None = None
    flow_key: FlowKeyOut | None = None
    domain: str | None = None
    domains: Annotated[tuple[str, ...] | None, Field(description="All that contributed, where several did.")] = None
    session_id: str | None = None
    band: Annotated[Band | None, Field(description="How sure the choice of the flow was.")] = None
    confidence: Annotated[float | None, Field(description="The same as a probability, 0 to 1.")] = None
    explanation: Annotated[str | None, Field(description="Why this flow.")] = None
    cached: Annotated[bool | None, Field(description="Whether the answer was there already.")] = None
    stale: bool | None = None
    attached_to: Annotated[str | None, Field(description="The identical query whose call this one shares.")] = None
    parts: tuple[PartView, ...] | None = None
    sources: tuple[Object, ...] | None = None
    data: Annotated[Object | None, Field(description="An answer that is an object.")] = None
    usage: Usage | None = None
    attempts: int | None = None
    reason: Annotated[str | None, Field(description="Why it waits.")] = None
    elapsed_ms: float | None = None
    first_token_ms: float | None = None
    poll_after_s: Annotated[float | None, Field(description="A poll with wait_s=0 is worth while after this.")] = None


def answer_view(query_id: str, answer: Answer) -> QueryView:
    """Return the view of a query that has its answer."""
    choices = tuple(map(_choice, answer.choices)) or None
    return QueryView(
        query_id=query_id,
        trace_id=answer.trace_id or trace_id_of(query_id),
        state=State.SUCCEEDED,
        done=True,
        next_step="Ask the user which flow is meant, then call flowise_query with flow_override." if choices else None,
        kind=answer.kind,
        answer=answer.text,
        choices=choices,
        flow_key=answer.flow,
        domain=answer.domain or None,
        domains=answer.domains if len(answer.domains) > 1 else None,
        session_id=answer.session_id,
        band=answer.band,
        confidence=round(answer.confidence, 4),
        explanation=answer.explanation or None,
        cached=answer.cached,
        stale=answer.stale or None,
        attached_to=answer.attached_to,
        parts=tuple(
            PartView(
                flow_key=part.flow,
                domain=part.domain,
                text=part.text,
                cached=part.cached,
                error=part.error.error if part.error else None,
            )
            for part in answer.parts
        )
        or None,
        sources=answer.sources or None,
        data=answer.data,
        usage=answer.usage,
        attempts=answer.attempts,
        elapsed_ms=_milliseconds(answer.elapsed),
        first_token_ms=_milliseconds(answer.first_token),
    )


def submission_view(submission: Submission) -> QueryView:
    """Return the view of a query that was just accepted."""
    if submission.answer is not None:
        return answer_view(submission.query_id, submission.answer)
    return QueryView(
        query_id=submission.query_id,
        trace_id=submission.trace_id,
        state=State.PENDING,
        done=False,
        next_step="Call flowise_poll with this query_id.",
        session_id=submission.session_id,
        attached_to=submission.attached_to,
        poll_after_s=POLL_AFTER,
    )


def record_view(record: Record, *, partial: str | None = None) -> QueryView:
    """Return the view of a query as its record has it. Raises QueryEnded where it ended with an error."""
    if record.error is not None:
        raise QueryEnded(record.error)
    if record.answer is not None:
        return answer_view(record.query_id, record.answer)
    best = record.route.best if record.route is not None and record.route.targets else None
    return QueryView(
        query_id=record.query_id,
        trace_id=trace_id_of(record.query_id),
        state=record.state,
        done=False,
        next_step="It is under way: call flowise_poll with this query_id and wait_s=20.",
        partial_answer=partial or None,
        flow_key=record.flow or (best.flow if best else None),
        domain=record.domain or (best.domain if best else None),
        session_id=record.query.session_id,
        band=record.route.band if record.route else None,
        confidence=round(record.route.confidence, 4) if record.route else None,
        explanation=(record.route.reason or None) if record.route else None,
        attached_to=record.attached_to,
        attempts=record.attempts or None,
        reason=record.reason or None,
        poll_after_s=POLL_AFTER,
    )


def _choice(choice: Choice) -> ChoiceView:
    return ChoiceView(
        flow_key=choice.flow,
        domain=choice.domain,
        name=choice.name,
        description=choice.description,
        confidence=round(choice.confidence, 4),
    )


def _milliseconds(span: timedelta | None) -> float | None:
    return None if span is None else round(span.total_seconds() * 1000, 1)
