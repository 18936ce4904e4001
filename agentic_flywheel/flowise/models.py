"""What is sent to Flowise and what comes back, in our own words."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import AwareDatetime, Field, JsonValue

from agentic_flywheel.catalog import Flow
from agentic_flywheel.models import Identifier, Message, Model, Usage

Rating = Literal["THUMBS_UP", "THUMBS_DOWN"]


class HumanInput(Model):
    """A person's decision that resumes an AgentFlow which stopped to ask for it."""

    type: Literal["proceed", "reject"]
    start_node_id: str | None = None
    feedback: str | None = None


class Upload(Model):
    """A file that goes with a question: a URL, or a data URL."""

    type: Literal["file", "url", "audio", "file:rag", "file:full"]
    name: str
    mime: str
    data: str


class FlowCall(Model):
    """One attempt at asking a flow. ``chat_id`` is this attempt's alone, so that a late answer can be found by it."""

    flow: Flow
    question: str = ""
    chat_id: Identifier | None = None
    session_id: Identifier | None = None
    #: Merged over the flow's own configuration; Flowise honours what the flow's owner has enabled.
    config: dict[str, JsonValue] = Field(default_factory=dict)
    history: tuple[Message, ...] = ()
    form: dict[str, JsonValue] | None = None
    uploads: tuple[Upload, ...] = ()
    human_input: HumanInput | None = None
    stream: bool = False


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
    used_tools: tuple[dict[str, JsonValue], ...] = ()
    artifacts: tuple[JsonValue, ...] = ()
    #: What a stopped AgentFlow waits for; resume it with a ``HumanInput``.
    action: dict[str, JsonValue] | None = None
    follow_ups: tuple[str, ...] = ()
    #: From sending to the first token; None where nothing was streamed.
    first_token: timedelta | None = None
    elapsed: timedelta = timedelta()


class ServerRate(Model):
    """The rate limit that a flow's owner set in Flowise: so many calls within the period."""

    calls: int
    period: timedelta


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
    #: The settings that may be overridden.
    overridable: tuple[str, ...] = ()
    rate: ServerRate | None = None
    updated: AwareDatetime | None = None


class Feedback(Model):
    """A user's verdict on one answer, as Flowise keeps it."""

    id: str
    chat_id: str = ""
    message_id: str = ""
    rating: Rating
    content: str = ""
    created: AwareDatetime | None = None
