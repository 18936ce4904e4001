"""What every tool, resource and prompt must be, whichever it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from agentic_flywheel.errors import InvalidSetting
from mcp_bridge.tool import Tool
from mcp_bridge.toolsets import ALL_TOOLS, GROUPS, selected

NAMES = {
    "flowise_query",
    "flowise_domain_query",
    "flowise_submit",
    "flowise_poll",
    "flowise_cancel",
    "flowise_resume",
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
    listed = tool.listed
    hints = listed.annotations
    assert hints is not None

    assert len(listed.description or "") > 80
    assert listed.title
    assert listed.input_schema["type"] == "object"
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
    for schema in objects(tool.listed.output_schema):
        for name in schema.get("required", ()):
            kinds = schema["properties"][name].get("anyOf", [])
            # Null is never written, so what may be null must not be required.
            assert {"type": "null"} not in kinds, (tool.name, name)


def test_ids_have_one_name_everywhere() -> None:
    forbidden = {"id", "task_id", "job_id", "flow", "session", "trace", "flowise_session", "chat_id"}
    for tool in ALL_TOOLS:
        listed = tool.listed
        for schema in [*objects(listed.input_schema), *objects(listed.output_schema)]:
            assert not forbidden & set(schema["properties"]), tool.name


#: What every host takes: see mcp_bridge.schema.
KEYWORDS = {"type", "description", "properties", "required", "items", "enum", "anyOf"}


def schemas(node: Any) -> Iterator[dict[str, Any]]:
    """Yield a schema and every schema in it."""
    if not isinstance(node, dict):
        return
    yield node
    for each in [*node.get("properties", {}).values(), node.get("items"), *node.get("anyOf", [])]:
        yield from schemas(each)


@pytest.mark.parametrize("tool", ALL_TOOLS, ids=lambda tool: tool.name)
def test_schemas_use_only_words_that_every_host_knows(tool: Tool) -> None:
    listed = tool.listed
    for schema in [*schemas(listed.input_schema), *schemas(listed.output_schema)]:
        assert set(schema) <= KEYWORDS, schema
        assert {"type": "null"} not in schema.get("anyOf", [])
    for name, field in listed.input_schema["properties"].items():
        # OpenAI's strict mode knows no object of any content.
        assert field.get("type") != "object", name
        assert field.get("description"), name


@pytest.mark.parametrize("tool", ALL_TOOLS, ids=lambda tool: tool.name)
def test_every_tool_takes_something(tool: Tool) -> None:
    assert tool.listed.input_schema["properties"]


def test_the_default_list_is_short() -> None:
    # 4.2 characters are a token here: tests/mcp/test_clients.py counts tokens.
    listed = [tool.listed.model_dump(by_alias=True, exclude_none=True, mode="json") for tool in GROUPS["ask"]]

    assert len(json.dumps(listed, separators=(",", ":"), ensure_ascii=False)) <= 11_100


@pytest.mark.parametrize(
    ("text", "changes", "names"),
    [
        (
            "ask",
            False,
            {"flowise_query", "flowise_submit", "flowise_poll", "flowise_resume", "flowise_cancel", "flowise_batch"},
        ),
        ("flowise_route, figures", False, {"flowise_route", "flowise_cache_stats"}),
        ("all", True, NAMES),
        ("all", False, NAMES - {"flowise_add_flow", "flowise_clear_cache"}),
        ("flow-tools", False, set()),
    ],
)
def test_tools_are_chosen_by_group_and_name(text: str, changes: bool, names: set[str]) -> None:
    tools, one_per_flow = selected(text, changes=changes)

    assert names <= {tool.name for tool in tools}
    assert not {tool.name for tool in tools} & (NAMES - names) or text not in ("all", "flow-tools")
    assert one_per_flow == (text == "flow-tools")


@pytest.mark.parametrize(
    ("text", "told"), [("", "names no tool"), ("asks", "'asks'"), ("flowise_add_flow", "--allow-changes")]
)
def test_a_choice_that_cannot_be_met_is_refused(text: str, told: str) -> None:
    with pytest.raises(InvalidSetting, match=told):
        selected(text, changes=False)
