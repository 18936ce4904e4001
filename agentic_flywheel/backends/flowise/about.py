"""Read what a flow's own data says of its use: what it is for, what people may ask it, whether it remembers or acts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

#: Most texts of one kind that are kept of a flow, and characters of each.
_MOST, _LONGEST = 10, 2_000
#: Inputs of nodes in which a system prompt stands; AgentFlows have lists of messages instead.
_PROMPTS = ("systemMessagePrompt", "systemMessage", "supervisorPrompt", "workerPrompt")
_MESSAGES = ("llmMessages", "agentMessages")
#: Nodes that keep what was said without a memory of their own, or may; their names contain one of these.
_REMEMBERING = ("memory", "conversational", "assistant", "executeflow")
#: Nodes of AgentFlows that do something; their names begin so.
_ACTING = ("tool", "http", "executeFlow")


class FlowPurpose(NamedTuple):
    """What a flow is for, as far as it shows."""

    #: A text for whoever uses the flow; empty where nobody wrote one.
    description: str = ""
    #: System prompts of its nodes.
    prompts: tuple[str, ...] = ()
    #: Questions that its owner offers to whoever begins a chat.
    starters: tuple[str, ...] = ()
    #: Whether a node keeps what was said; None where the nodes do not show.
    remembers: bool | None = None
    #: Whether a node calls tools, other services or other flows.
    acts: bool = False


def read_about(chatbot: dict[str, Any], mcp: dict[str, Any], nodes: list[dict[str, Any]]) -> FlowPurpose:
    """Return what ``chatbotConfig``, ``mcpServerConfig`` and the nodes of ``flowData`` say of a flow."""
    offered = _dict(chatbot.get("starterPrompts")).values()
    return FlowPurpose(
        description=next(_texts([mcp.get("description"), chatbot.get("welcomeMessage")]), ""),
        prompts=tuple(_texts(each for node in nodes for each in _prompts(_dict(node.get("inputs")))))[:_MOST],
        starters=tuple(_texts(_dict(each).get("prompt") for each in offered))[:_MOST],
        remembers=any(map(_remembers, nodes)) if nodes else None,
        acts=any(map(_acts, nodes)),
    )


def _prompts(inputs: dict[str, Any]) -> Iterator[Any]:
    yield from (inputs.get(name) for name in _PROMPTS)
    for name in _MESSAGES:
        messages = inputs.get(name)
        for each in messages if isinstance(messages, list) else ():
            if _dict(each).get("role") == "system":
                yield each.get("content")


def _remembers(node: dict[str, Any]) -> bool:
    inputs = _dict(node.get("inputs"))
    kind = f"{node.get('category')} {node.get('name')}".lower()
    return any(word in kind for word in _REMEMBERING) or any(
        bool(value) for name, value in inputs.items() if name.endswith("EnableMemory")
    )


def _acts(node: dict[str, Any]) -> bool:
    name = str(node.get("name") or "")
    tools = _dict(node.get("inputs")).get("agentTools")
    return (
        str(node.get("category") or "").startswith("Tools")
        or (name.endswith("Agentflow") and name.startswith(_ACTING))
        or bool(isinstance(tools, list) and tools)
    )


def _texts(values: Iterable[Any]) -> Iterator[str]:
    """Yield those of the values that are texts and say something, none longer than is kept."""
    return (each[:_LONGEST] for each in values if isinstance(each, str) and each[:_LONGEST].strip())


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
