"""What every tool, resource and prompt must be, whichever it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mcp_bridge.server import ALL_TOOLS
from mcp_bridge.tool import Tool

NAMES = {
    "flowise_query",
    "flowise_domain_query",
    "flowise_submit",
    "flowise_poll",
    "flowise_cancel",
    "flowise_batch",
    "flowise_list_flows",
    "flowise_route",
    "flowise_add_flow",
    "flowise_configure",
    "flowise_browse",
    "flowise_session_info",
    "flowise_session_history",
    "flowise_trace_view",
    "flowise_trace_search",
    "flowise_quality_score",
    "flowise_cache_stats",
    "flowise_clear_cache",
    "flowise_flow_health",
    "flowise_usage_analytics",
}


def objects(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every object schema of a schema."""
    if isinstance(node, dict):
        if "properties" in node:
            yield node
        for value in node.values():
            yield from objects(value)
    elif isinstance(node, list):
        for value in node:
            yield from objects(value)


def test_all_tools_are_there() -> None:
    assert {tool.name for tool in ALL_TOOLS} == NAMES


@pytest.mark.parametrize("tool", ALL_TOOLS, ids=lambda tool: tool.name)
def test_a_tool_says_what_it_does_takes_and_returns(tool: Tool) -> None:
    listed = tool.listed()
    hints = listed.annotations
    assert hints is not None

    assert len(listed.description or "") > 80
    assert listed.title
    assert listed.input_schema["type"] == "object"
    assert listed.input_schema["additionalProperties"] is False
    assert listed.output_schema is not None
    assert listed.output_schema["type"] == "object"
    assert None not in (
        hints.read_only_hint,
        hints.destructive_hint,
        hints.idempotent_hint,
        hints.open_world_hint,
    )
    assert not (tool.changes and hints.read_only_hint)


@pytest.mark.parametrize("tool", ALL_TOOLS, ids=lambda tool: tool.name)
def test_what_a_result_may_leave_out_is_not_required(tool: Tool) -> None:
    for schema in objects(tool.listed().output_schema):
        for name in schema.get("required", ()):
            kinds = schema["properties"][name].get("anyOf", [])
            # Null is never written, so what may be null must not be required.
            assert {"type": "null"} not in kinds, (tool.name, name)


def test_ids_have_one_name_everywhere() -> None:
    forbidden = {"id", "task_id", "job_id", "flow", "session", "trace", "flowise_session", "chat_id"}
    for tool in ALL_TOOLS:
        listed = tool.listed()
        for schema in [*objects(listed.input_schema), *objects(listed.output_schema)]:
            assert not forbidden & set(schema["properties"]), tool.name
