"""The nouns that every part agrees on: frozen, validated, without I/O."""

from __future__ import annotations

import enum
import os
import secrets
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from agentic_flywheel.errors import ErrorInfo, InvalidQuery

MAX_QUESTION = 32_000
#: Characters of what is told of a domain beside it: more would crowd out the question.
MAX_CONTEXT = 8_000

#: A name of a flow, domain, profile: safe in queue names, keys and file names.
Slug = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")]
#: An id that a caller may choose: a session, a user.
Identifier = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\s\x00-\x1f]+$")]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
CachePolicy = Literal["use", "refresh", "bypass"]
Band = Literal["high", "medium", "low"]


class Priority(enum.StrEnum):
    """Three bands, each with queues of its own; high before low without starving low."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class State(enum.StrEnum):
    """Where a query is. The last four are terminal: nothing leaves them."""

    PENDING = "pending"  # accepted, waits for its classification
    QUEUED = "queued"  # routed, waits for a worker of its domain
    RUNNING = "running"  # a flow is being called
    WAITING = "waiting"  # attached, parked by a limit, or before a retry; `reason` says which
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def terminal(self) -> bool:
        return self in TERMINAL


TERMINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED})


class Model(BaseModel):
    """Base of every noun: frozen, and closed against unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Message(Model):
    """One message of a conversation, in Flowise's own words for the roles."""

    role: Literal["userMessage", "apiMessage"]
    content: str


class Query(Model):
    """What a user asks.

    Everything but ``question`` may be left out. ``deadline`` is a point in time; ``config`` is merged over the flow's
    own configuration (``overrideConfig``); ``history`` is sent instead of the session's own turns.
    """

    question: str = Field(min_length=1, max_length=MAX_QUESTION)
    session_id: Identifier | None = None
    user: Identifier = "local"
    flow: Slug | None = None
    domain: Slug | None = None
    intent: Slug | None = None
    profile: Slug | None = None
    #: What the flow is told of the domain with this question alone; beside a profile, where it names one.
    context: str | None = Field(None, min_length=1, max_length=MAX_CONTEXT)
    context_type: Literal["technical", "cultural", "strategic", "general"] | None = None
    config: dict[str, JsonValue] = Field(default_factory=dict)
    history: tuple[Message, ...] = ()
    cache: CachePolicy = "use"
    priority: Priority = Priority.NORMAL
    deadline: AwareDatetime | None = None
    client: Slug = "python"
    metadata: dict[str, JsonValue] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _question_has_text(self) -> Self:
        if not self.question.strip():
            raise PydanticCustomError("blank", "it holds nothing but white space")
        return self

    def written(self) -> str:
        """Return the JSON form, without the fields that were left at their defaults."""
        return self.model_dump_json(exclude_defaults=True)


def read_query(fields: Any) -> Query:
    """Return the query that these fields describe. Raises InvalidQuery, naming the first that is not acceptable."""
    try:
        return Query.model_validate(fields)
    except ValidationError as refused:
        first = refused.errors(include_input=False, include_url=False)[0]
        raise InvalidQuery(".".join(map(str, first["loc"])) or "question", first["msg"]) from None


class Target(Model):
    """One flow that a route leads to."""

    flow: str
    domain: str
    confidence: Probability
    #: The sub-intent that decided, where the catalog has topics.
    topic: str | None = None


class Evidence(Model):
    """One reason for a route, in words."""

    kind: Literal["explicit", "keyword", "example", "topic", "session", "profile", "novelty", "default", "description"]
    flow: str
    detail: str
    #: How much it moved the score, in log-odds; the sign says which way.
    weight: float


class Decision(Model):
    """Where a query goes: what an answer tells of its route. Of a whole route, the rest is passed over."""

    model_config = ConfigDict(extra="ignore")

    targets: tuple[Target, ...] = Field(min_length=1)
    decision: Literal["explicit", "single", "best_two", "fan_out", "default", "clarify"]
    band: Band
    confidence: Probability
    #: One sentence for a person.
    reason: str = ""

    @property
    def best(self) -> Target:
        return self.targets[0]


class Route(Decision):
    """The decision where a query goes, and why."""

    model_config = ConfigDict(extra="forbid")

    #: Calibrated probability per flow, all active flows.
    scores: dict[str, float] = Field(default_factory=dict)
    #: How foreign the question is to every example, 0..1; ``novel`` says whether that passed the threshold.
    novelty: Probability = 0.0
    novel: bool = False
    evidence: tuple[Evidence, ...] = ()
    alternatives: tuple[Target, ...] = ()
    catalog_revision: str = ""


class Usage(Model):
    """Token usage of a flow, where Flowise tells."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    model: str | None = None


class Part(Model):
    """One domain's contribution to a synthesised answer."""

    flow: str
    domain: str
    text: str = ""
    cached: bool = False
    error: ErrorInfo | None = None


class Choice(Model):
    """One flow that a clarification offers."""

    flow: str
    domain: str
    name: str
    description: str
    confidence: Probability


class Answer(Model):
    """What comes back for a query."""

    query_id: str
    kind: Literal["answer", "clarify"] = "answer"
    text: str
    flow: str
    domain: str
    #: Every domain that contributed; one unless the question concerned several.
    domains: tuple[str, ...] = ()
    session_id: str | None = None
    band: Band = "high"
    confidence: Probability = 1.0
    #: Why this flow, one sentence; always there unless the route was certain.
    explanation: str = ""
    cached: bool = False
    #: Served past its TTL while a fresh one is computed.
    stale: bool = False
    #: The query whose call this answer came from, where the two shared one.
    attached_to: str | None = None
    cache_key: str | None = None
    elapsed: timedelta = timedelta()
    #: From sending to the first token; None where the flow does not stream.
    first_token: timedelta | None = None
    parts: tuple[Part, ...] = ()
    choices: tuple[Choice, ...] = ()
    #: A custom-function flow may answer with an object instead of text.
    data: dict[str, JsonValue] | None = None
    sources: tuple[dict[str, JsonValue], ...] = ()
    usage: Usage | None = None
    attempts: int = 1
    #: Whether Flowise itself keeps this exchange under the query's session.
    remembered: bool = False
    #: The domain profile that it was given under; ``private`` where that is confidential.
    profile: str | None = None
    private: bool = False
    #: Flowise's own ids of this exchange, for feedback.
    chat_id: str | None = None
    message_id: str | None = None
    trace_id: str = ""


class Turn(Model):
    """One question and its answer inside a session."""

    query_id: str
    question: str
    answer: str
    flow: str
    domain: str
    #: Whether Flowise itself keeps this turn under the session; a turn from the cache it does not know.
    remembered: bool = False
    #: The confidential profile that it was said under; flows hear of it under that profile only.
    private_to: str | None = None
    at: AwareDatetime


class Event(Model):
    """One entry of a query's event stream. ``id`` is where a reader can resume."""

    id: str
    kind: Literal["routed", "started", "attached", "token", "retrying", "waiting", "final"]
    at: AwareDatetime
    data: dict[str, JsonValue] = Field(default_factory=dict)


class Record(Model):
    """All that is known of one query."""

    query_id: str
    owner: str
    state: State
    query: Query
    route: Route | None = None
    answer: Answer | None = None
    error: ErrorInfo | None = None
    #: Why a waiting query waits: retry, rate, concurrency, breaker, paused, attached.
    reason: str = ""
    flow: str | None = None
    domain: str | None = None
    attempts: int = 0
    attached_to: str | None = None
    created: datetime
    routed: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None


class DeadLetter(Model):
    """A query whose attempts ran out, kept with everything needed to redrive it."""

    query_id: str
    query: Query
    flow: str
    domain: str
    attempts: int
    error: ErrorInfo
    at: AwareDatetime


_VARIANT = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}


def new_query_id(producer: str = "") -> str:
    """Return 32 lower-case hex digits in uuid4's layout, beginning with the ``producer``'s own eight digits.

    The id is the Celery task id, the record's key, the MCP task id and the Langfuse trace id. Its first eight digits
    name the channel on which the producer hears of its queries, so one subscription serves them all.
    """
    digits = os.urandom(16).hex()
    # The version (4) and variant (10) bits of RFC 9562.
    fresh = f"{digits[:12]}4{digits[13:16]}{_VARIANT[digits[16]]}{digits[17:]}"
    return producer + fresh[len(producer) :]


def new_producer_id() -> str:
    """Return the eight hex digits with which one producer's query ids begin."""
    return secrets.token_hex(4)


def trace_id_of(query_id: str) -> str:
    """Return the trace id of a query: its id, without the dashes that a plain Celery client puts in."""
    return query_id.replace("-", "")
