"""Expected failures as tool results: the project's error object, with advice in the words of the tools."""

from __future__ import annotations

import json
from typing import Any

from mcp_types import CallToolResult, TextContent
from pydantic import ValidationError

from agentic_flywheel.errors import ErrorInfo, FlywheelError, InvalidQuery
from agentic_flywheel.given import reason_of, told_together
from mcp_bridge.discretion import told

#: What a model can do next, before what a person can do.
_ADVICE: dict[str, tuple[str, ...]] = {
    "EarlierTurnAsks": ("Have the user decide first: flowise_poll with the query_id shows what is asked.",),
    "InvalidDecision": ("Correct the named argument of flowise_resume; flowise_poll shows what the query asks.",),
    "InvalidQuery": ("Correct the named argument and call the tool again; its input schema says what is accepted.",),
    "UnknownQuery": ("Use a query_id as flowise_query, flowise_submit or flowise_batch returned it.",),
    "UnknownBatch": ("Use a batch_id as flowise_batch returned it.",),
    "BrokerUnavailable": ("Tell the user that the queue is not running.",),
    "QueryLost": ("Call the tool again with the same question: the queue has lost the query.",),
    "QueryRemoved": ("Call the tool again with the same question, unless the user has had the query removed.",),
    "QueueFull": ("Wait for retry_after seconds, then call the tool again.",),
    "DeadlineExceeded": ("Ask again with a larger timeout_s, or with none.",),
    "NobodyDecided": ("Ask the question again, and tell the user until when to decide.",),
    "ServerUnreachable": ("Call flowise_flow_health to see which flows answer; another flow may.",),
    "FlowTimeout": ("Call flowise_flow_health to see which flows answer; another flow may.",),
    "CircuitOpen": ("Ask another flow meanwhile: flow_override takes a flow_key of flowise_list_flows.",),
    "QueryCancelled": ("Nothing is lost: call flowise_query with the same question to ask again.",),
}


def failure_result(error: FlywheelError | ErrorInfo) -> CallToolResult:
    """Return the result that shows an error to a model, as text.

    Not as structured content too: clients compare that with the tool's output schema, and report the difference instead
    of the error.
    """
    info = told(error)
    advice = _ADVICE.get(info.error_type, ())
    shown = info.model_copy(update={"recovery_suggestions": (*advice, *info.recovery_suggestions)})
    value = shown.model_dump(mode="json")
    return CallToolResult(content=[TextContent(type="text", text=json.dumps(value, ensure_ascii=False))], is_error=True)


def told_error(result: CallToolResult) -> dict[str, Any]:
    """Return the error object that a failed result tells; empty where it tells none."""
    text = next((each.text for each in result.content if isinstance(each, TextContent)), "")
    try:
        shown = json.loads(text)
    except ValueError:
        return {}
    return shown if isinstance(shown, dict) else {}


def refused_arguments(refused: ValidationError) -> InvalidQuery:
    """Return the error for arguments that do not fit; it names every one of them, and no value."""
    faults = dict[str, str]()
    for fault in refused.errors(include_input=False, include_url=False):
        faults.setdefault(".".join(map(str, fault["loc"])) or "arguments", reason_of(fault))
    return InvalidQuery(*told_together(faults))
