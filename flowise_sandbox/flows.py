"""The flows that the sandbox serves: three bundled ones, those of a registry, and those that a test adds."""

from __future__ import annotations

import uuid
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from agentic_flywheel.catalog import FormField
from agentic_flywheel.errors import InvalidRegistry
from agentic_flywheel.models import Model


class Style(StrEnum):
    """How a flow is built in Flowise. It decides the form of answers and the events of streams."""

    CHAT = "chat"  # a chatflow with memory
    DOCUMENTS = "documents"  # a chatflow over a document store
    FUNCTION = "function"  # a chatflow of one custom function: cannot stream
    OBJECT = "object"  # the same, returning an object
    LLM = "llm"  # an AgentFlow of one LLM node
    AGENT = "agent"  # an AgentFlow whose agent has a tool
    MAKER = "maker"  # the same, and its tool makes artifacts
    FINDER = "finder"  # the same, and its tool finds documents
    TOOLS = "tools"  # a chatflow whose agent has a tool that makes artifacts
    CREW = "crew"  # a chatflow of several agents, who tell their reasoning
    CODE = "code"  # an AgentFlow of a custom function and a reply
    SCRIPT = "script"  # an AgentFlow that ends with its custom function
    FORM = "form"  # an AgentFlow that starts with a form
    APPROVAL = "approval"  # an AgentFlow that stops for a person's decision
    CAREFUL = "careful"  # an AgentFlow whose agent stops for one before it uses its tool

    @property
    def agentic(self) -> bool:
        return self not in _CHATFLOWS

    @property
    def has_agent(self) -> bool:
        return self in _OF_AGENTS

    @property
    def remembers(self) -> bool:
        """Whether it has a memory of its own."""
        return self.has_agent or self in (Style.CHAT, Style.LLM, Style.TOOLS)

    @property
    def asks_person(self) -> bool:
        return self in (Style.APPROVAL, Style.CAREFUL)

    @property
    def streams(self) -> bool:
        return self not in (Style.FUNCTION, Style.OBJECT)


_CHATFLOWS = (Style.CHAT, Style.DOCUMENTS, Style.FUNCTION, Style.OBJECT, Style.TOOLS, Style.CREW)
#: AgentFlows that end with an agent.
_OF_AGENTS = (Style.AGENT, Style.MAKER, Style.FINDER, Style.CAREFUL)


class Voice(StrEnum):
    """The specialist whose answers a flow makes up."""

    TECHNICAL = "technical"
    CREATIVE = "creative"
    DOCUMENTS = "documents"
    GENERAL = "general"


class SandboxFlow(Model):
    """One flow of the sandbox."""

    id: str = Field(min_length=1)
    name: str = ""
    style: Style = Style.CHAT
    voice: Voice = Voice.GENERAL
    #: The fields of its form, where its style has one.
    form: tuple[FormField, ...] = (FormField(name="name"),)
    #: Whether it takes images; whether it turns audio into its question; the types of files that it reads.
    images: bool = False
    speech: bool = False
    files: tuple[str, ...] = ()
    #: What its owner has set for the chat widget: `starterPrompts`, `chatFeedback`, `leads`.
    chatbot: dict[str, Any] = {}
    #: Whether only chat completions have it, as a model of its id; they have all others too.
    model: bool = False


BUNDLED = (
    SandboxFlow(
        id="7d405a51-968d-4467-9ae6-d49bf182cdf9", name="creative-orientation", style=Style.CHAT, voice=Voice.CREATIVE
    ),
    SandboxFlow(
        id="896f7eed-342e-4596-9429-6fb9b5fbd91b", name="technical-analysis", style=Style.LLM, voice=Voice.TECHNICAL
    ),
    SandboxFlow(
        id="2f6c2f0e-6f0b-4c52-9a51-6f1f0a3f7c11", name="document-qa", style=Style.DOCUMENTS, voice=Voice.DOCUMENTS
    ),
)

MODELS = tuple(
    SandboxFlow(id=name, name=name, style=Style.LLM, voice=voice, model=True)
    for name, voice in {"sandbox-1": Voice.GENERAL, "sandbox-technical": Voice.TECHNICAL}.items()
)

_SECTIONS = ("operational_flows", "routing_flows", "flows")


def read_flows(path: Path) -> tuple[SandboxFlow, ...]:
    """Return the flows of a registry file, each with its id and name, and the models. Other keys are ignored.

    Raises InvalidRegistry where the file cannot be read.
    """
    try:
        document = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as unreadable:
        raise InvalidRegistry(str(path), 1, "file", str(unreadable).partition("\n")[0]) from None
    found: dict[str, SandboxFlow] = {}
    _collect(document, found)
    if not found:
        raise InvalidRegistry(str(path), 1, "/".join(_SECTIONS), "no flow has an id that is a uuid, or a model")
    return tuple(found.values())


def form_inputs(flow: SandboxFlow) -> list[dict[str, Any]]:
    """Return the fields of a flow's form as Flowise stores them in its start node."""
    return [
        {
            "type": field.type,
            "label": field.name.capitalize(),
            "name": field.name,
            "addOptions": [{"option": each} for each in field.options] or "",
        }
        for field in flow.form
    ]


def is_uuid(text: str) -> bool:
    """Return whether Flowise would accept this as a chatflow's id."""
    try:
        return len(text) == 36 and bool(uuid.UUID(text))
    except ValueError:
        return False


def _flow(node: dict[str, Any], name: str) -> SandboxFlow:
    """Return the flow of a registry's entry; one with a form begins with that form."""
    flow = SandboxFlow(id=node["id"], name=str(node.get("name") or name))
    try:
        form = tuple(map(FormField.model_validate, node.get("form") or ()))
    except (ValidationError, TypeError):
        return flow
    return flow.model_copy(update={"style": Style.FORM, "form": form}) if form else flow


def _collect(node: Any, found: dict[str, SandboxFlow], name: str = "", *, inside: bool = False) -> None:
    if not isinstance(node, dict):
        return
    if inside and isinstance(node.get("id"), str) and is_uuid(node["id"]):
        known = next((flow for flow in BUNDLED if flow.id == node["id"]), None)
        found[node["id"]] = known or _flow(node, name)
        return
    if inside and isinstance(node.get("model"), str):
        found[node["model"]] = SandboxFlow(id=node["model"], name=name, style=Style.LLM, model=True)
        return
    for key, each in node.items():
        # In older registries, sections contain sections.
        _collect(each, found, str(key), inside=inside or key in _SECTIONS)
