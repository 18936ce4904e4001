"""What is sent to Flowise and what comes back, in our own words."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal, NamedTuple

from pydantic import AwareDatetime, Field, JsonValue

from agentic_flywheel.catalog import Flow, FormField
from agentic_flywheel.flowise.about import FlowPurpose
from agentic_flywheel.flowise.bodies import FlowUpload
from agentic_flywheel.given import Form
from agentic_flywheel.models import Artifact, EventKind, FlowStep, Identifier, Message, Model, ToolUse, Usage

Rating = Literal["THUMBS_UP", "THUMBS_DOWN"]


class HumanInput(Model):
    """A person's decision that resumes an AgentFlow which stopped to ask for it."""

    type: Literal["proceed", "reject"]
    start_node_id: str | None = None
    feedback: str | None = None


class FlowCall(Model):
    """One attempt at asking a flow. ``chat_id`` is this attempt's alone, so that a late answer can be found by it."""

    flow: Flow
    question: str = ""
    chat_id: Identifier | None = None
    session_id: Identifier | None = None
    #: Merged over the flow's own configuration; Flowise honours what the flow's owner has enabled.
    config: dict[str, JsonValue] = Field(default_factory=dict)
    history: tuple[Message, ...] = ()
    form: Form = Field(default_factory=dict)
    uploads: tuple[FlowUpload, ...] = ()
    human_input: HumanInput | None = None
    stream: bool = False


class FlowNews(NamedTuple):
    """Something that a flow tells while it runs: the kind and the data of an event of its query."""

    kind: EventKind
    data: dict[str, JsonValue]


class FlowAnswer(Model):
    """What a flow answered, the same for a plain and for a streamed call."""

    text: str = ""
    #: What a custom function returned instead of text.
    data: dict[str, JsonValue] | None = None
    chat_id: str | None = None
    message_id: str | None = None
    session_id: str | None = None
    #: Only AgentFlows have executions, and streams do not tell theirs.
    execution_id: str | None = None
    sources: tuple[dict[str, JsonValue], ...] = ()
    usage: Usage | None = None
    tools: tuple[ToolUse, ...] = ()
    steps: tuple[FlowStep, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    #: What a stopped AgentFlow waits for; resume it with a ``HumanInput``.
    action: dict[str, JsonValue] | None = None
    follow_ups: tuple[str, ...] = ()
    #: The part of the configuration that the flow used.
    config_used: dict[str, JsonValue] = Field(default_factory=dict)
    #: What is to be said of the rest of the configuration, and of what was cut: a sentence each.
    warnings: tuple[str, ...] = ()
    #: From sending to the first token; None where nothing was streamed.
    first_token: timedelta | None = None
    elapsed: timedelta = timedelta()


class ServerRate(Model):
    """The rate limit that a flow's owner set in Flowise: so many calls within the period."""

    calls: int
    period: timedelta


#: Why a flow that starts like this cannot answer questions.
_STARTS = {
    "webhookTrigger": "it is started by a webhook: no question can start it",
    "scheduleInput": "it is started by a schedule: no question can start it",
}


class Chatflow(Model):
    """A flow as Flowise lists it."""

    id: str
    name: str = ""
    kind: str = "CHATFLOW"
    deployed: bool = False
    public: bool = False
    #: Whether calls need the key that the flow is bound to.
    keyed: bool = False
    #: Whether the owner enabled overriding at all; if not, Flowise silently ignores ``overrideConfig``.
    overrides: bool = False
    #: The settings that may be overridden; ``vars`` where some of the ``variables`` may.
    overridable: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    #: What starts it: chatInput, formInput, webhookTrigger or scheduleInput.
    start: str = "chatInput"
    #: The form's fields, where it is a form.
    form: tuple[FormField, ...] = ()
    #: Whether it can stop to ask a person.
    asks_person: bool = False
    rate: ServerRate | None = None
    updated: AwareDatetime | None = None
    #: Words by which its owner sorts it; empty where there are none.
    category: str = ""
    about: FlowPurpose = FlowPurpose()

    @property
    def unusable(self) -> str:
        """Why it cannot answer questions that come from here; empty where it can."""
        return _STARTS.get(self.start, "")


class UploadsAccepted(Model):
    """Which uploads a flow makes use of; Flowise takes any other without a word, and does nothing with it."""

    #: MIME types of images, and the most bytes of one.
    images: frozenset[str] = frozenset()
    image_bytes: int = 0
    #: Whether audio is turned into the question.
    speech: bool = False


class Feedback(Model):
    """A user's verdict on one answer, as Flowise keeps it."""

    id: str
    chat_id: str = ""
    message_id: str = ""
    rating: Rating
    content: str = ""
    created: AwareDatetime | None = None
