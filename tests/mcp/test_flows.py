"""Flows, routes, configuration, figures and traces through the bridge."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from bridge_house import FOREIGN, SLOW, BridgeHouse
from mcp import Client

from agentic_flywheel.broker import wire
from agentic_flywheel.catalog import Catalog, Flow, FormField
from agentic_flywheel.registry import load_catalog
from agentic_flywheel.settings import Settings
from mcp_bridge.bridge import Bridge
from mcp_bridge.configuring import known_flow
from mcp_bridge.flow_tools import flow_tools
from mcp_bridge.flows import flow_list
from mcp_bridge.tool import Call


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.structured_content
    return dict(result.structured_content or {})


async def test_flows_are_listed_with_what_they_are_for(alice: Client) -> None:
    listed = await call(alice, "flowise_list_flows")
    flows = {flow["flow_key"]: flow for flow in listed["flows"]}

    assert flows["creative-orientation"]["default"]
    assert flows["technical-analysis"]["keywords"] == ["python", "database", "docker"]
    assert flows["slow"]["config"] == ["temperature"]
    assert set(listed["domains"]) == {"technical", "creative", "documents"}


async def test_a_route_is_explained_and_no_flow_is_called(alice: Client, bridge_house: BridgeHouse) -> None:
    sure = await call(alice, "flowise_route", question="Why is the docker build slow?")
    unsure = await call(alice, "flowise_route", question=FOREIGN)

    assert sure["targets"][0]["flow_key"] == "technical-analysis"
    assert sure["band"] == "high"
    assert any(reason["kind"] == "keyword" for reason in sure["evidence"])
    assert unsure["decision"] == "clarify"
    assert bridge_house.calls("Why is the docker build slow?") == 0


async def test_a_route_is_judged_within_its_session(alice: Client) -> None:
    await call(alice, "flowise_query", question="How do I connect PostgreSQL to Python?", session_id="s")

    followed = await call(alice, "flowise_route", question="and how do I make it faster?", session_id="s")

    assert followed["targets"][0]["flow_key"] == "technical-analysis"


async def test_a_session_carries_its_overrides_to_flowise(alice: Client, bridge_house: BridgeHouse) -> None:
    bridge_house.behave(SLOW, overrides=True)

    shown = await call(
        alice, "flowise_configure", session_id="warm", flow_key="slow", config={"temperature": 0.9, "topK": 3}
    )
    lowered = await call(alice, "flowise_configure", session_id="warm", flow_key="slow", config={"topK": None})
    asked = await call(alice, "flowise_query", question="warmly", flow_override="slow", session_id="warm")
    trace = await call(alice, "flowise_trace_view", trace_id=asked["trace_id"])

    used = next(step["metadata"] for step in trace["steps"] if step["name"] == "flow-execution")
    assert shown["scope"] == "session"
    assert {each["name"]: each["value"] for each in shown["overrides"]} == {"temperature": 0.9, "topK": 3}
    assert [each["name"] for each in lowered["overrides"]] == ["temperature"]
    assert used["flow_key"] == "slow"
    # What is honoured of it depends on when Flowise was last asked; what the query carries does not.
    stored = bridge_house.broker.client().hget(wire.record_key(asked["query_id"]), "query")
    assert json.loads(str(stored))["config"] == {"temperature": 0.9}


async def test_an_answer_says_which_overrides_flowise_ignored(alice: Client, bridge_house: BridgeHouse) -> None:
    bridge_house.behave(SLOW)
    asked = await call(alice, "flowise_query", question="coldly", flow_override="slow", config={"topK": 3})
    plain = await call(alice, "flowise_query", question="Write a poem about the sea")

    (warning,) = asked["warnings"]
    assert "topK" in warning
    assert "warnings" not in plain


async def test_what_flowise_will_ignore_is_said(alice: Client) -> None:
    shown = await call(alice, "flowise_configure", flow_key="slow")

    assert shown["overrides"] == [{"name": "temperature", "value": 0.5, "honoured": False}]
    assert "ignores every override" in shown["note"]


async def test_a_flow_is_configured_for_everybody(alice: Client, bridge_house: BridgeHouse) -> None:
    before = bridge_house.registry.read_text()
    try:
        changed = await call(alice, "flowise_configure", flow_key="document-qa", config={"temperature": 0.1})
        written = bridge_house.registry.read_text()
    finally:
        bridge_house.change_registry(before)

    assert changed["scope"] == "flow"
    assert changed["changed"]
    assert "temperature: 0.1" in written


async def test_a_flow_is_added_and_asked(alice: Client, bridge_house: BridgeHouse) -> None:
    flow_id = "00000000-0000-4000-8000-00000000000a"
    request = urllib.request.Request(
        f"{bridge_house.flowise_url}/sandbox/flows/{flow_id}",
        method="PUT",
        data=json.dumps({"name": "new"}).encode(),
        headers={"Content-Type": "application/json"},
    )
    before = bridge_house.registry.read_text()
    await asyncio.to_thread(lambda: urllib.request.urlopen(request, timeout=30).close())
    try:
        added = await call(
            alice,
            "flowise_add_flow",
            flow_key="gardening",
            flow_id=flow_id,
            description="Answers about gardens",
            domain="creative",
            keywords=["tulip", "compost"],
            examples=["When do tulips flower?", "How do I make compost?"],
        )
        async with asyncio.timeout(20):
            while not any(
                flow["flow_key"] == "gardening" for flow in (await call(alice, "flowise_list_flows"))["flows"]
            ):
                await asyncio.sleep(0.1)
            while (
                asked := await alice.call_tool("flowise_query", {"question": "Tulips?", "flow_override": "gardening"})
            ).is_error:
                await asyncio.sleep(0.2)
    finally:
        bridge_house.change_registry(before)

    assert added["flow_key"] == "gardening"
    assert "served already" in added["note"]
    assert (asked.structured_content or {})["flow_key"] == "gardening"


async def test_a_flows_page_is_found(alice: Client, bridge_house: BridgeHouse) -> None:
    page = await call(alice, "flowise_browse", flow_key="slow")

    assert page["editor_url"].startswith(bridge_house.flowise_url)
    assert page["editor_url"].endswith(SLOW)


async def test_an_answer_is_traced_scored_and_found_again(alice: Client) -> None:
    asked = await call(alice, "flowise_query", question="Which clause covers liability?")
    score = await call(
        alice, "flowise_quality_score", query_id=asked["query_id"], value=2, comment="It missed the point"
    )
    trace = await call(alice, "flowise_trace_view", trace_id=asked["trace_id"])
    found = await call(alice, "flowise_trace_search", text="liability", max_score=5)
    good = await call(alice, "flowise_trace_search", text="liability", min_score=6)
    health = await call(alice, "flowise_flow_health")

    steps = {step["name"] for step in trace["steps"]}
    flow = next(flow for flow in health["flows"] if flow["flow_key"] == "document-qa")
    assert score["value"] == 2
    assert {"intent-classification", "flow-execution", "cache-check"} <= steps
    assert trace["ended"]
    assert trace["scores"][0]["comment"] == "It missed the point"
    assert [line["query_id"] for line in found["traces"]] == [asked["query_id"]]
    assert found["traces"][0]["rating"] == 2
    assert good["traces"] == []
    assert flow["mean_score"] == 2
    assert flow["queries"] >= 1


async def test_the_cache_is_counted_and_emptied(alice: Client) -> None:
    for _ in range(3):
        await call(alice, "flowise_query", question="Write a poem about the sea")
    counted = await call(alice, "flowise_cache_stats")
    cleared = await call(alice, "flowise_clear_cache", flow_key="creative-orientation", confirm=True)
    asked = await call(alice, "flowise_query", question="Write a poem about the sea")

    line = next(line for line in counted["flows"] if line["flow_key"] == "creative-orientation")
    assert (line["hits"], line["misses"], line["entries"]) == (2, 1, 1)
    assert cleared["removed"] == 1
    assert not asked["cached"]


async def test_usage_is_shown_with_its_course(alice: Client) -> None:
    await call(alice, "flowise_query", question="Summarise this PDF")

    usage = await call(alice, "flowise_usage_analytics", by="domain", days=1)

    assert [row["name"] for row in usage["rows"]] == ["documents"]
    assert usage["rows"][0]["queries"] == 1
    assert usage["rows"][0]["course"].strip()


def test_a_flow_with_a_form_has_a_tool_that_takes_the_form_and_says_which() -> None:
    fields = (FormField(name="amount", type="number"), FormField(name="kind", type="options", options=("meal",)))
    flow = Flow(key="expenses", id="e", domain="d", form=fields)
    plain = Flow(key="plain", id="p", domain="d")

    tools = flow_tools(Catalog(flows={"expenses": flow, "plain": plain}))

    assert "`amount` (number), `kind` (meal)" in tools["ask_expenses"].description
    assert {"form"} <= set(tools["ask_expenses"].arguments.model_fields)
    assert "question" not in tools["ask_expenses"].arguments.model_fields
    assert "question" in tools["ask_plain"].arguments.model_fields


async def test_a_form_is_filled_in_through_a_tool(alice: Client, bridge_house: BridgeHouse) -> None:
    submitted = await call(alice, "flowise_submit", form='{"size": 3}', flow_override="slow")

    stored = bridge_house.broker.client().hget(wire.record_key(submitted["query_id"]), "query")
    assert json.loads(str(stored))["form"] == {"size": 3}


async def test_a_flow_that_is_not_in_flowise_is_told_as_what_it_is(tmp_path: Path) -> None:
    registry = tmp_path / "flow-registry.yaml"
    registry.write_text(
        "servers:\n  models: {address: http://127.0.0.1:9/v1, backend: openai}\n"
        "  hooks: {address: http://127.0.0.1:9, backend: http}\n"
        "operational_flows:\n  helper: {server: models, model: small}\n"
        "  hook: {server: hooks, request: {path: /ask, body: {q: '{{question}}'}}, answer: {text: /text}}\n"
    )
    catalog = load_catalog(registry)
    bridge = Bridge(Settings(registry=registry, redis_url="redis://127.0.0.1:9/0"))
    call = cast(Call, SimpleNamespace(bridge=bridge))
    try:
        hook, hook_note = await known_flow(call, catalog.flows["hook"])
        helper, helper_note = await known_flow(call, catalog.flows["helper"])
    finally:
        await bridge.close()

    assert [(flow.flow_key, flow.backend) for flow in flow_list(catalog).flows] == [
        ("helper", "openai"),
        ("hook", "http"),
    ]
    assert hook is not None
    assert (hook.overridable, hook.editor_url) == ((), None)
    assert "takes no overrides" in hook_note
    assert helper is not None
    assert helper.editor_url is None
    assert "could not be reached" in helper_note
    assert "Flowise" not in hook_note + helper_note
