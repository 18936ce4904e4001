"""What the native API shows of a query: all that is known of it, without secrets, and where to go from there."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from pydantic import AwareDatetime, JsonValue
from starlette.responses import Response

from agentic_flywheel.doings import step_object
from agentic_flywheel.errors import ErrorInfo
from agentic_flywheel.ids import trace_id_of
from agentic_flywheel.models import Answer, Band, Choice, Cost, Model, Record, State, ToolUse, Usage
from agentic_flywheel.stops import StopShown
from mcp_bridge.discretion import outward
from producer import Submission

JSON = "application/json"


class HttpPart(Model):
    """What one domain contributed to an answer."""

    flow: str
    domain: str
    text: str
    cached: bool
    error: ErrorInfo | None = None


class HttpAnswer(Model):
    """The answer of a query. ``clarify``: choose one of ``choices`` and ask again with its ``flow``."""

    kind: Literal["answer", "clarify"]
    text: str
    flow: str
    domain: str
    domains: tuple[str, ...] = ()
    band: Band
    confidence: float
    explanation: str = ""
    cached: bool
    stale: bool = False
    data: dict[str, JsonValue] | None = None
    choices: tuple[Choice, ...] = ()
    sources: tuple[dict[str, JsonValue], ...] = ()
    artifacts: tuple[dict[str, JsonValue], ...] = ()
    follow_ups: tuple[str, ...] = ()
    tools: tuple[ToolUse, ...] = ()
    steps: tuple[dict[str, JsonValue], ...] = ()
    parts: tuple[HttpPart, ...] = ()
    #: Of the call that gave the answer: where it is `cached`, its `cost` is what the cache has saved.
    usage: Usage | None = None
    #: What this answer has cost; null: not known.
    cost: Cost | None = None
    warnings: tuple[str, ...] = ()
    attempts: int = 1
    profile: str | None = None
    elapsed_ms: float
    first_token_ms: float | None = None


class HttpRoute(Model):
    """Where a query was sent, and why."""

    flow: str | None = None
    domain: str | None = None
    band: Band
    confidence: float
    reason: str = ""


class HttpQuery(Model):
    """One query, wherever it is."""

    query_id: str
    state: State
    #: Whether it has ended: nothing changes any more.
    done: bool
    #: Why it waits; of a cancelled or expired one, why it ended.
    reason: str | None = None
    answer: HttpAnswer | None = None
    error: ErrorInfo | None = None
    #: What its flows ask a person, who decides with ``POST …/resume``.
    asks: tuple[StopShown, ...] = ()
    query: dict[str, JsonValue] | None = None
    route: HttpRoute | None = None
    session_id: str | None = None
    #: The identical query whose call this one shares.
    attached_to: str | None = None
    attempts: int | None = None
    created: AwareDatetime | None = None
    routed: AwareDatetime | None = None
    started: AwareDatetime | None = None
    finished: AwareDatetime | None = None
    trace_id: str
    links: dict[str, str]


def links_of(query_id: str) -> dict[str, str]:
    """Return where to go on with a query."""
    here = f"/v1/queries/{query_id}"
    return {"self": here} | {each: f"{here}/{each}" for each in ("events", "cancel", "resume", "reroute", "scores")}


def answer_shown(answer: Answer) -> HttpAnswer:
    """Return an answer as it is shown."""
    return HttpAnswer(
        kind=answer.kind,
        text=answer.text,
        flow=answer.flow,
        domain=answer.domain,
        domains=answer.domains,
        band=answer.band,
        confidence=round(answer.confidence, 4),
        explanation=answer.explanation,
        cached=answer.cached,
        stale=answer.stale,
        data=answer.data,
        choices=answer.choices,
        sources=answer.sources,
        artifacts=tuple(_plain(each) for each in answer.artifacts),
        follow_ups=answer.follow_ups,
        tools=answer.tools,
        steps=tuple(map(step_object, answer.steps)),
        parts=tuple(
            HttpPart(
                flow=each.flow, domain=each.domain, text=each.text, cached=each.cached, error=told_outside(each.error)
            )
            for each in answer.parts
        ),
        usage=answer.usage,
        cost=answer.cost,
        warnings=answer.warnings,
        attempts=answer.attempts,
        profile=answer.profile,
        elapsed_ms=_milliseconds(answer.elapsed),
        first_token_ms=None if answer.first_token is None else _milliseconds(answer.first_token),
    )


def submission_shown(submission: Submission) -> HttpQuery:
    """Return a query that was just accepted."""
    answer = submission.answer
    return HttpQuery(
        query_id=submission.query_id,
        state=State.PENDING if answer is None else State.SUCCEEDED,
        done=answer is not None,
        answer=None if answer is None else answer_shown(answer),
        session_id=submission.session_id,
        attached_to=submission.attached_to,
        trace_id=submission.trace_id,
        links=links_of(submission.query_id),
    )


def record_shown(record: Record, *, whole: bool = True) -> HttpQuery:
    """Return a query as its record has it. ``whole``: with what was asked, beside the question."""
    route, target = record.route, None
    if route is not None and route.targets:
        target = route.best
    asked = record.query.shown()
    return HttpQuery(
        query_id=record.query_id,
        state=record.state,
        done=record.state.terminal,
        reason=record.reason or None,
        answer=None if record.answer is None else answer_shown(record.answer),
        error=told_outside(record.error),
        asks=tuple(each.shown() for each in record.stops),
        query=asked if whole else {"question": asked["question"]},
        route=None
        if route is None
        else HttpRoute(
            flow=record.flow or (target.flow if target else None),
            domain=record.domain or (target.domain if target else None),
            band=route.band,
            confidence=round(route.confidence, 4),
            reason=route.reason,
        ),
        session_id=record.query.session_id,
        attached_to=record.attached_to,
        attempts=record.attempts or None,
        created=record.created,
        routed=record.routed,
        started=record.started,
        finished=record.finished,
        trace_id=trace_id_of(record.query_id),
        links=links_of(record.query_id),
    )


def response_of(value: Model, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a value as JSON, without what it does not have."""
    return Response(value.model_dump_json(exclude_none=True), status, headers, JSON)


def _plain(value: Model) -> dict[str, Any]:
    return value.model_dump(mode="json", exclude_defaults=True)


def _milliseconds(span: timedelta) -> float:
    return round(span.total_seconds() * 1000, 1)


def told_outside(error: ErrorInfo | None) -> ErrorInfo | None:
    """Return the error of a record as callers may see it."""
    return None if error is None else outward(error)
