"""The flows that the sandbox serves: the bundled three, those of a registry, and those that a test adds."""

from __future__ import annotations

import uuid
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import Field
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from agentic_flywheel.errors import InvalidRegistry
from agentic_flywheel.models import Model


class Style(StrEnum):
    """How a flow is built in Flowise, and so which dialect it speaks."""

    CHAT = "chat"  # a chatflow with memory
    DOCUMENTS = "documents"  # a chatflow over a document store
    FUNCTION = "function"  # a chatflow of one custom function: cannot stream
    OBJECT = "object"  # the same, returning an object
    LLM = "llm"  # an AgentFlow of one LLM node
    AGENT = "agent"  # an AgentFlow whose agent has a tool
    CODE = "code"  # an AgentFlow of a custom function and a reply
    SCRIPT = "script"  # an AgentFlow that ends with its custom function
    FORM = "form"  # an AgentFlow that starts with a form
    APPROVAL = "approval"  # an AgentFlow that stops for a person's decision

    @property
    def agentic(self) -> bool:
        return self not in _CHATFLOWS

    @property
    def streams(self) -> bool:
        return self not in (Style.FUNCTION, Style.OBJECT)


_CHATFLOWS = (Style.CHAT, Style.DOCUMENTS, Style.FUNCTION, Style.OBJECT)


class Voice(StrEnum):
    """Which specialist answers."""

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

_SECTIONS = ("operational_flows", "routing_flows", "flows")


def read_flows(path: Path) -> tuple[SandboxFlow, ...]:
    """Return the flows of a registry file, each with its id and name; everything else there is the catalog's affair.

    Raises InvalidRegistry where the file cannot be read.
    """
    try:
        document = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as unreadable:
        raise InvalidRegistry(str(path), 1, "file", str(unreadable).partition("\n")[0]) from None
    found: dict[str, SandboxFlow] = {}
    _collect(document, found)
    if not found:
        raise InvalidRegistry(str(path), 1, "/".join(_SECTIONS), "no flow has an id that is a uuid")
    return tuple(found.values())


def is_uuid(text: str) -> bool:
    """Return whether Flowise would take this for a chatflow's id."""
    try:
        return len(text) == 36 and bool(uuid.UUID(text))
    except ValueError:
        return False


def _collect(node: Any, found: dict[str, SandboxFlow], name: str = "", *, inside: bool = False) -> None:
    if not isinstance(node, dict):
        return
    if inside and isinstance(node.get("id"), str) and is_uuid(node["id"]):
        known = next((flow for flow in BUNDLED if flow.id == node["id"]), None)
        found[node["id"]] = known or SandboxFlow(id=node["id"], name=str(node.get("name") or name))
        return
    for key, each in node.items():
        # Older registries nest sections in sections.
        _collect(each, found, str(key), inside=inside or key in _SECTIONS)
