"""What tools return of a query: its answer where it is there, else how far it is and what to do next."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, ClassVar, Literal
from urllib.parse import quote

from pydantic import AwareDatetime, Field, JsonValue, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from agentic_flywheel.doings import step_object
from agentic_flywheel.errors import ErrorInfo
from agentic_flywheel.ids import trace_id_of
from agentic_flywheel.models import Answer, Band, Choice, Cost, Model, Record, State, ToolUse, Usage
from agentic_flywheel.stops import Stop
from mcp_bridge.arguments import Object
from mcp_bridge.discretion import told
from producer import Submission

#: Seconds after which a poll that does not wait is worth while.
POLL_AFTER = 2.0


#: A state; schemas do not list them all.
StateName = Annotated[State, WithJsonSchema({"type": "string"})]


class QueryEnded(Exception):
    """The query that was looked at ended with an error: this one, as the worker or the broker noted it."""

    def __init__(self, info: ErrorInfo) -> None:
        super().__init__(info)
        self.info = info


class ChoiceView(Model):
    """One flow that the user may choose."""

    flow_key: str
    domain: SkipJsonSchema[str]
    name: SkipJsonSchema[str]
    description: str
    confidence: float


class PartView(Model):
    """What one domain contributed."""

    flow_key: str
    domain: str
    text: str
    cached: bool
    error: str | None = None


class QueryHead(Model):
    """The least that is told of a query."""

    query_id: str
    state: StateName
    done: bool
    next_step: str | None = None
    answer: str | None = None


class QueryView(QueryHead):
    """One query, wherever it is. What is skipped in the schema is for programs, and not in the text for models."""

    #: What its flows ask a person, who decides with `flowise_resume`.
    asks: tuple[Object, ...] | None = None
    kind: Literal["answer", "clarify"] | None = None
    choices: tuple[ChoiceView, ...] | None = None
    flow_key: str | None = None
    confidence: Annotated[float | None, Field(description="How sure that flow was right, 0 to 1.")] = None
    explanation: SkipJsonSchema[str | None] = None
    session_id: str | None = None
    cached: bool | None = None
    partial_answer: str | None = None
    #: What was not heeded, such as overrides that Flowise ignores.
    warnings: tuple[str, ...] | None = None
    sources: tuple[Object, ...] | None = None
    #: What the flow made: where it can be fetched, or its text.
    artifacts: SkipJsonSchema[tuple[Object, ...] | None] = None
    #: Questions that the flow proposes to ask next.
    follow_ups: SkipJsonSchema[tuple[str, ...] | None] = None
    tools: SkipJsonSchema[tuple[ToolUse, ...] | None] = None
    steps: SkipJsonSchema[tuple[Object, ...] | None] = None
    data: SkipJsonSchema[Object | None] = None
    trace_id: SkipJsonSchema[str]
    domain: SkipJsonSchema[str | None] = None
    #: All that contributed, where several did.
    domains: SkipJsonSchema[tuple[str, ...] | None] = None
    band: SkipJsonSchema[Band | None] = None
    stale: SkipJsonSchema[bool | None] = None
    #: The identical query whose call this one shares.
    attached_to: SkipJsonSchema[str | None] = None
    parts: SkipJsonSchema[tuple[PartView, ...] | None] = None
    #: Of the call that gave the answer: with `cached`, what the cache has saved.
    usage: SkipJsonSchema[Usage | None] = None
    #: What this answer has cost; None: not known.
    cost: SkipJsonSchema[Cost | None] = None
    attempts: SkipJsonSchema[int | None] = None
    #: Why it waits.
    reason: SkipJsonSchema[str | None] = None
    elapsed_ms: SkipJsonSchema[float | None] = None
    first_token_ms: SkipJsonSchema[float | None] = None
    #: A poll that does not wait is worth while after so many seconds.
    poll_after_s: SkipJsonSchema[float | None] = None
    #: Where in the whole answer `answer` begins, if not at its start.
    answer_from: SkipJsonSchema[int | None] = None

    @property
    def rest(self) -> str:
        """Where the whole is, if this has to be cut."""
        return f"{address('query', self.query_id)} has all; flowise_poll with answer_from=answer_next goes on."

    def from_character(self, number: int) -> QueryView:
        """Return the view with the answer from this character on."""
        if not number or self.answer is None:
            return self
        return self.model_copy(update={"answer": self.answer[number:], "answer_from": number})


#: The field of a query's metadata that names its batch.
BATCH = "batch_id"


class QueryLine(Model):
    """One query in a list."""

    #: How many a list shows.
    SHOWN: ClassVar[int] = 20

    query_id: str
    state: StateName
    question: str
    flow_key: SkipJsonSchema[str | None] = None
    session_id: SkipJsonSchema[str | None] = None
    created: AwareDatetime


class QueryList(Model):
    """An owner's latest queries, and the batches that some of them belong to."""

    queries: tuple[QueryLine, ...]
    #: The newest first.
    batch_ids: SkipJsonSchema[tuple[str, ...]] = ()


def query_line(record: Record) -> QueryLine:
    """Return a query as a line of a list."""
    return QueryLine(
        query_id=record.query_id,
        state=record.state,
        question=shortened(record.query.question),
        flow_key=record.flow,
        session_id=record.query.session_id,
        created=record.created,
    )


def shortened(text: str, longest: int = 200) -> str:
    """Return at most so many characters of a text."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def address(kind: str, name: str) -> str:
    """Return the resource in which something is found whole."""
    return f"flowise://{kind}/{quote(name, safe='')}"


def answer_view(query_id: str, answer: Answer) -> QueryView:
    """Return the view of a query that has its answer."""
    choices = tuple(map(_choice, answer.choices)) or None
    return QueryView(
        query_id=query_id,
        trace_id=answer.trace_id or trace_id_of(query_id),
        state=State.SUCCEEDED,
        done=True,
        next_step="Let the user choose, then call flowise_query with flow_override." if choices else None,
        kind=answer.kind,
        answer=answer.text,
        choices=choices,
        warnings=answer.warnings or None,
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
                error=told(part.error).error if part.error else None,
            )
            for part in answer.parts
        )
        or None,
        sources=answer.sources or None,
        artifacts=tuple(each.model_dump(exclude_defaults=True) for each in answer.artifacts) or None,
        follow_ups=answer.follow_ups or None,
        tools=answer.tools or None,
        steps=tuple(map(step_object, answer.steps)) or None,
        data=answer.data,
        usage=answer.usage,
        cost=answer.cost,
        attempts=answer.attempts,
        elapsed_ms=milliseconds(answer.elapsed),
        first_token_ms=milliseconds(answer.first_token),
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
        next_step=_DECIDE if record.stops else "It is under way: call flowise_poll with this query_id and wait_s=20.",
        asks=tuple(map(_asked, record.stops)) or None,
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


#: What to do about a query whose flow asks a person.
_DECIDE = (
    "Its flow asks a person. Show `asks` to the user, then call flowise_resume with what the user decides, "
    "and with the number of the `stop`."
)


#: What the fields of a stop are called here, where that is another name than elsewhere.
_NAMES = {"flow": "flow_key", "text": "asks"}


def _asked(stop: Stop) -> dict[str, JsonValue]:
    shown = stop.shown().model_dump(mode="json", exclude_none=True)
    return {_NAMES.get(name, name): value for name, value in shown.items()}


def _choice(choice: Choice) -> ChoiceView:
    return ChoiceView(
        flow_key=choice.flow,
        domain=choice.domain,
        name=choice.name,
        description=choice.description,
        confidence=round(choice.confidence, 4),
    )


def milliseconds(span: timedelta | None) -> float | None:
    """Return a duration in milliseconds, as it is shown."""
    return None if span is None else round(span.total_seconds() * 1000, 1)
