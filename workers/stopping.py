"""What becomes of a flow that stops and asks a person: note what is asked, and tell the flow what was decided."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agentic_flywheel.backends.models import FlowAnswer, HumanInput
from agentic_flywheel.broker.executions import Execution, chat_id
from agentic_flywheel.catalog import Flow
from agentic_flywheel.cutting import cut
from agentic_flywheel.stops import MAX_ASKED, AskedPerson, Decided, Decision

#: How Flowise names the decisions in what an AgentFlow puts out as its action.
_CHOICES: dict[str, Decision] = {"approve": "proceed", "reject": "reject"}
#: Characters of a label or a name of a node.
_LONGEST_NAME = 200
#: Characters that are left for saying how much is missing.
_CUT_NOTE = 100


def asked_by(execution: Execution, found: FlowAnswer) -> AskedPerson:
    """Return what a flow asks, from the answer with which it stopped."""
    action: dict[str, Any] = found.action or {}
    mapping, data = _object(action.get("mapping")), _object(action.get("data"))
    given = _object(data.get("input"))
    text = found.text if len(found.text) <= MAX_ASKED else cut(found.text, MAX_ASKED - _CUT_NOTE)
    return AskedPerson(
        flow=execution.flow_key,
        flow_id=execution.flow.id if execution.flow else "",
        domain=execution.domain,
        text=text,
        choices={choice: _name(mapping.get(key)) or choice.capitalize() for key, choice in _CHOICES.items()},
        node=_name(data.get("nodeId")),
        title=_name(data.get("nodeLabel")),
        # An agent that asks before it uses a tool is told the decision alone.
        feedback=given.get("humanInputEnableFeedback", "agentModel" not in given) is not False,
        chat_id=found.chat_id or execution.chat_id,
        message_id=found.message_id,
    )


def flow_that_asked(flow: Flow, decided: Decided) -> Flow:
    """Return the flow to tell of a decision: the one that asked, whatever id the registry has for it by now."""
    asked = decided.asked.flow_id
    return flow.model_copy(update={"id": asked}) if asked not in ("", flow.id) else flow


def resumed(execution: Execution, decided: Decided) -> Execution:
    """Return the execution that carries out a decision: its answer is nobody else's, and its chat goes on."""
    flow = execution.flow and flow_that_asked(execution.flow, decided)
    return execution._replace(flow=flow, cache_key="", resumed_chat=decided.asked.chat_id or "")


def left_behind(fences: Iterable[str], execution: Execution, asked: AskedPerson) -> list[str]:
    """Return the attempts that were given up, but for the one in whose chat the flow asks."""
    return [fence for fence in fences if chat_id(execution.query_id, fence) != asked.chat_id]


def human_input(decided: Decided) -> HumanInput:
    """Return a decision in Flowise's form."""
    return HumanInput(
        type=decided.decision, start_node_id=decided.asked.node, feedback=decided.feedback.strip() or None
    )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _name(value: Any) -> str | None:
    return value[:_LONGEST_NAME] if isinstance(value, str) and value else None
