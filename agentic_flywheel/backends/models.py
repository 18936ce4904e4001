"""What a flow is asked and what it answers, in the same words for every backend."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Literal, NamedTuple

from pydantic import Field, JsonValue

from agentic_flywheel.backends.bodies import FlowUpload
from agentic_flywheel.catalog import Flow
from agentic_flywheel.given import Form
from agentic_flywheel.models import Artifact, EventKind, FlowStep, Identifier, Message, Model, ToolUse, Usage


def overridden(config: Mapping[str, JsonValue], by: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return a configuration with another one over it; of the variables, ``vars``, each one by itself."""
    found = {**config, **by}
    if "vars" in config and "vars" in by:
        variables, others = config["vars"], by["vars"]
        if isinstance(variables, dict) and isinstance(others, dict):
            found["vars"] = {**variables, **others}
    return found


class HumanInput(Model):
    """A person's decision that resumes a flow which stopped to ask for it."""

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
    #: Merged over that. It contains a profile's text and is never recorded.
    carried: dict[str, JsonValue] = Field(default_factory=dict)
    history: tuple[Message, ...] = ()
    form: Form = Field(default_factory=dict)
    uploads: tuple[FlowUpload, ...] = ()
    human_input: HumanInput | None = None
    #: Whether the answer is to be told while it is made, where that can be.
    stream: bool = False
    #: Of a call that was prepared: what the flow uses of the configuration, and what is to be said of the rest,
    #: a sentence each.
    config_used: dict[str, JsonValue] = Field(default_factory=dict)
    warnings: tuple[str, ...] = ()


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
    #: Of the configuration, what the flow used: said by whoever prepared the call.
    config_used: dict[str, JsonValue] = Field(default_factory=dict)
    #: What is to be said of the answer, such as that something was cut: a sentence each.
    warnings: tuple[str, ...] = ()
    #: From sending to the first token; None where nothing was streamed.
    first_token: timedelta | None = None
    elapsed: timedelta = timedelta()
    #: For how long the server asks not to be called again: its limit is used up.
    pause: timedelta = timedelta()
