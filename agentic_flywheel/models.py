"""The nouns that every part agrees on: frozen, validated, without I/O."""

from __future__ import annotations

import enum
from datetime import datetime, timedelta
from typing import Any, Literal, Self

from pydantic import AwareDatetime, Field, JsonValue, ValidationError, model_validator

from agentic_flywheel.asker import LOCAL, Asker
from agentic_flywheel.base import Band as Band
from agentic_flywheel.base import Model as Model
from agentic_flywheel.base import Probability as Probability
from agentic_flywheel.doings import Artifact as Artifact
from agentic_flywheel.doings import FlowStep as FlowStep
from agentic_flywheel.doings import ToolUse as ToolUse
from agentic_flywheel.doings import Usage as Usage
from agentic_flywheel.errors import ErrorInfo, InvalidQuery
from agentic_flywheel.given import MAX_CONTEXT as MAX_CONTEXT
from agentic_flywheel.given import MAX_QUESTION as MAX_QUESTION
from agentic_flywheel.given import Asked, Context, JsonObject, Text, bounded, fault_of
from agentic_flywheel.given import Identifier as Identifier
from agentic_flywheel.given import Slug as Slug
from agentic_flywheel.prices import Cost as Cost
from agentic_flywheel.routes import Evidence as Evidence
from agentic_flywheel.routes import Route as Route
from agentic_flywheel.routes import RouteDecision as RouteDecision
from agentic_flywheel.routes import Target as Target
from agentic_flywheel.secret_values import without_secret_values
from agentic_flywheel.stops import Stop
from agentic_flywheel.uploads import Uploads

CachePolicy = Literal["use", "refresh", "bypass"]


class Priority(enum.StrEnum):
    """Three bands, each with queues of its own; high before low. In queues low has its turns too, at a flow none."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class State(enum.StrEnum):
    """Where a query is. The last four are terminal: nothing leaves them."""

    PENDING = "pending"  # accepted, waits for its classification
    QUEUED = "queued"  # routed, waits for a worker of its domain
    RUNNING = "running"  # a flow is being called
    WAITING = "waiting"  # a ``WaitReason`` says for what
    INPUT_REQUIRED = "input_required"  # its flow has stopped and asks a person, who has to decide
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def terminal(self) -> bool:
        return self in TERMINAL


class HowEnded(enum.StrEnum):
    """How an execution ended, where its terminal state does not say it: what figures tell apart."""

    CACHED = "cached"  # answered from the cache
    ATTACHED = "attached"  # got the outcome of an identical execution
    FALLEN_BACK = "fallen_back"  # its flow's fallback answered
    REFUSED = "refused"  # its owner was at a limit: this says nothing of a flow


TERMINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED})


class WaitReason(enum.StrEnum):
    """Why a waiting query waits."""

    ATTACHED = "attached"  # for the answer of an identical query
    SESSION = "session"  # for an earlier turn of its session
    RETRY = "retry"  # before its flow is called again
    PAUSED = "paused"  # a person has paused its flow or domain
    RATE = "rate"  # its flow's calls a second are used up, or the flow asked for a pause
    CONCURRENCY = "concurrency"  # its flow's calls at once, or those of the flow's server, are used up
    CIRCUIT = "circuit"  # its flow failed too often and is left alone for a while
    REGISTRY = "registry"  # for a worker that has its flow, domain or profile
    VERSION = "version"  # for a worker of its version


class EventKind(enum.StrEnum):
    """What a reader of a query's event stream can be told."""

    ROUTED = "routed"
    STARTED = "started"
    ATTACHED = "attached"
    TOKEN = "token"
    STEP = "step"
    TOOL = "tool"
    SOURCE = "source"
    ARTIFACT = "artifact"
    USAGE = "usage"
    RETRYING = "retrying"
    WAITING = "waiting"
    INPUT_REQUIRED = "input_required"
    DECIDED = "decided"
    FINAL = "final"


#: What a flow tells while it runs. Those attached to its call read it too.
TOLD_BY_FLOW = frozenset(
    {
        EventKind.TOKEN,
        EventKind.STEP,
        EventKind.TOOL,
        EventKind.SOURCE,
        EventKind.ARTIFACT,
        EventKind.USAGE,
    }
)


class Message(Model):
    """One message of a conversation, in Flowise's own words for the roles."""

    role: Literal["userMessage", "apiMessage"]
    content: Text


class Query(Asked, Model):
    """What a user asks.

    Everything but ``question`` may be left out, and that too where there is a ``form``: it is then the form's text.
    ``deadline`` is a point in time, by the clock of the process that submits it; ``config`` is merged over the flow's
    own configuration (``overrideConfig``); ``history`` is sent instead of the session's own turns.
    """

    session_id: Identifier | None = None
    #: Who is authenticated. A producer sets it, whatever a caller says; who may write to the broker may name anybody.
    owner: Identifier = LOCAL
    #: Whom the owner names: sessions, and answers that are kept for the one who asked, belong to both.
    user: Identifier | None = None
    flow: Slug | None = None
    domain: Slug | None = None
    intent: Slug | None = None
    profile: Slug | None = None
    #: What the flow is told of the domain with this question alone; beside a profile, where it names one.
    context: Context | None = None
    context_type: Literal["technical", "cultural", "strategic", "general"] | None = None
    config: JsonObject = Field(default_factory=dict)
    #: Files and addresses that go with it; a ``pathlib.Path`` or a text with an address stands for one.
    uploads: Uploads = ()
    history: tuple[Message, ...] = ()
    cache: CachePolicy = "use"
    priority: Priority = Priority.NORMAL
    deadline: AwareDatetime | None = None
    client: Slug = "python"
    metadata: JsonObject = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_bounded(self) -> Self:
        return bounded(self)

    @property
    def asker(self) -> Asker:
        return Asker(self.owner, self.user)

    def written(self) -> str:
        """Return the JSON form, without the fields that were left at their defaults."""
        return self.model_dump_json(exclude_defaults=True)

    def shown(self) -> dict[str, Any]:
        """Return the JSON object that people are shown: what was given, without the secrets of its configuration."""
        told = self.model_dump(mode="json", exclude_defaults=True)
        return told | ({"config": without_secret_values(self.config)} if self.config else {})


def read_query(fields: Any) -> Query:
    """Return the query that these fields describe. Raises InvalidQuery, naming the first that is not acceptable."""
    try:
        return Query.model_validate(fields)
    except ValidationError as refused:
        raise InvalidQuery(*fault_of(refused)) from None


class AnswerPart(Model):
    """One domain's contribution to a synthesised answer."""

    flow: str
    domain: str
    text: str = ""
    cached: bool = False
    sources: tuple[dict[str, JsonValue], ...] = ()
    usage: Usage | None = None
    cost: Cost | None = None
    tools: tuple[ToolUse, ...] = ()
    steps: tuple[FlowStep, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    follow_ups: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
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
    parts: tuple[AnswerPart, ...] = ()
    choices: tuple[Choice, ...] = ()
    #: A custom-function flow may answer with an object instead of text.
    data: dict[str, JsonValue] | None = None
    sources: tuple[dict[str, JsonValue], ...] = ()
    #: Of the call that gave the answer, also where that was another query's: what the cache has saved is its ``cost``.
    usage: Usage | None = None
    #: What this answer has cost: nothing where it is from the cache or shares another query's call. None: not known.
    cost: Cost | None = None
    #: The tools that the flow used, and its nodes that ran, each in their order.
    tools: tuple[ToolUse, ...] = ()
    steps: tuple[FlowStep, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    #: Questions that the flow proposes to ask next.
    follow_ups: tuple[str, ...] = ()
    #: The part of the configuration that the flow used; Flowise ignores what its owner has not enabled.
    config_used: dict[str, JsonValue] = Field(default_factory=dict)
    #: What whoever reads the answer should know of how it came about, a sentence each.
    warnings: tuple[str, ...] = ()
    attempts: int = 1
    #: Whether Flowise itself keeps this exchange under the query's session.
    remembered: bool = False
    #: The domain profile that it was given under; ``private`` where that is confidential.
    profile: str | None = None
    private: bool = False
    #: Flowise's own ids of this exchange, for feedback; none where the answer was another query's.
    chat_id: str | None = None
    message_id: str | None = None
    trace_id: str = ""

    def written(self) -> str:
        """Return the JSON form that is stored: without those of the optional fields that say nothing."""
        fields = self.__dict__
        nothing = {name for name, default in _OPTIONAL.items() if fields[name] == default}
        return self.model_dump_json(exclude=nothing)


#: Fields of an answer that are stored only where they say something, each with what says nothing.
_OPTIONAL: dict[str, Any] = {
    name: Answer.model_fields[name].get_default(call_default_factory=True)
    for name in (
        "stale", "attached_to", "first_token", "parts", "choices", "data", "sources", "usage", "cost", "tools", "steps",
        "artifacts", "follow_ups", "config_used", "warnings", "attempts", "remembered", "profile", "private", "chat_id",
        "message_id",
    )
}  # fmt: skip


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
    kind: EventKind
    at: AwareDatetime
    data: dict[str, JsonValue] = Field(default_factory=dict)

    @property
    def voids(self) -> bool:
        """Whether what the flow had said is void: its call failed, or is made again since its worker was lost."""
        again = self.kind is EventKind.STARTED and self.data.get("attempt", 1) != 1
        return again or self.kind is EventKind.RETRYING


class Record(Model):
    """All that is known of one query."""

    query_id: str
    owner: str
    state: State
    query: Query
    route: Route | None = None
    answer: Answer | None = None
    error: ErrorInfo | None = None
    #: Why a waiting query waits (a ``WaitReason``); of a cancelled or expired one, why it ended.
    reason: str = ""
    flow: str | None = None
    domain: str | None = None
    #: What its flows ask a person, while they wait for the decision.
    stops: tuple[Stop, ...] = ()
    #: The number of the last stop; 0 where none of its flows has stopped.
    last_stop: int = 0
    attempts: int = 0
    attached_to: str | None = None
    created: datetime
    routed: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None

    @property
    def asker(self) -> Asker:
        return Asker(self.owner, self.query.user)
