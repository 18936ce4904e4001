"""What cannot be done is told as an error object, with what to do next, and the bridge goes on."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from bridge_house import BROKEN, SLOW, BridgeHouse, Raw, error_of
from mcp import Client
from mcp.shared.exceptions import MCPError
from processes import Valkey, free_port

from agentic_flywheel.settings import Settings
from agentic_flywheel.stack import StackInfo
from mcp_bridge.bridge import Bridge
from mcp_bridge.server import build_server
from producer import AsyncProducer
from producer.stack.claim import claim


async def failure(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool that is to fail; return the error object after checking its form."""
    error = error_of(await client.call_tool(tool, arguments))
    assert len(error["recovery_suggestions"]) >= 3
    assert error["error"]
    assert error["error_id"]
    assert isinstance(error["retry_after"], int | float)
    return error


@pytest.mark.parametrize(
    ("tool", "arguments", "kind"),
    [
        ("flowise_poll", {"query_id": "0" * 32}, "UnknownQuery"),
        ("flowise_cancel", {"query_id": "0" * 32}, "UnknownQuery"),
        ("flowise_trace_view", {"trace_id": "0" * 32}, "UnknownQuery"),
        ("flowise_quality_score", {"query_id": "0" * 32, "value": 5}, "UnknownQuery"),
        ("flowise_batch", {"batch_id": "0" * 32}, "UnknownBatch"),
        ("flowise_session_info", {"session_id": "nowhere"}, "UnknownSession"),
        ("flowise_session_history", {"session_id": "nowhere"}, "UnknownSession"),
        ("flowise_query", {"question": "?", "flow_override": "no-such"}, "UnknownFlow"),
        ("flowise_query", {"question": "?", "intent": "no-such"}, "UnknownDomain"),
        ("flowise_browse", {"flow_key": "no-such"}, "UnknownFlow"),
        ("flowise_query", {"question": ""}, "InvalidQuery"),
        ("flowise_query", {"question": "x" * 32_001}, "InvalidQuery"),
        ("flowise_query", {"question": "a\x00b"}, "InvalidQuery"),
        ("flowise_submit", {"question": "a\x1bb"}, "InvalidQuery"),
        ("flowise_query", {"question": "x", "session_id": "a\u202eb"}, "InvalidQuery"),
        ("flowise_query", {"question": "x", "wait_s": 46}, "InvalidQuery"),
        ("flowise_query", {"question": "x", "colour": "red"}, "InvalidQuery"),
        ("flowise_query", {}, "InvalidQuery"),
        ("flowise_poll", {"query_id": "../../etc/passwd"}, "InvalidQuery"),
        ("flowise_batch", {}, "InvalidQuery"),
        ("flowise_batch", {"questions": ["a"], "batch_id": "0" * 32}, "InvalidQuery"),
        ("flowise_cancel", {}, "InvalidQuery"),
        ("flowise_configure", {}, "InvalidQuery"),
        ("flowise_configure", {"session_id": "s", "config": {"sessionId": "t"}}, "InvalidQuery"),
        ("flowise_clear_cache", {"confirm": False}, "InvalidQuery"),
        ("flowise_add_flow", {"flow_key": "slow", "flow_id": "x", "description": "again"}, "InvalidRegistry"),
    ],
)
async def test_what_is_not_there_or_not_acceptable_is_named(
    alice: Client, tool: str, arguments: dict[str, Any], kind: str
) -> None:
    error = await failure(alice, tool, **arguments)

    assert error["error_type"] == kind
    assert error["retry_after"] == 0


async def test_rejected_values_are_not_repeated(alice: Client) -> None:
    error = await failure(alice, "flowise_query", question="secret-" * 6000)

    assert "secret-" not in json.dumps(error)
    assert "question" in error["error"]


async def test_a_flow_that_fails_is_told_with_its_reason(alice: Client, bridge_house: BridgeHouse) -> None:
    bridge_house.behave(BROKEN, fault="error_500")

    error = await failure(alice, "flowise_query", question="why?", flow_override="broken")

    assert error["error_type"] == "FlowFailed"
    assert len(error["query_id"]) == 32


async def test_a_deadline_that_passes_is_told_with_when_to_retry(alice: Client, bridge_house: BridgeHouse) -> None:
    bridge_house.behave(SLOW, latency=30)

    error = await failure(alice, "flowise_query", question="too slow", flow_override="slow", timeout_s=0.5)

    assert error["error_type"] == "DeadlineExceeded"
    assert error["retry_after"] > 0


async def test_a_cancelled_query_is_told_as_such(alice: Client, bridge_house: BridgeHouse) -> None:
    bridge_house.behave(SLOW, latency=30)
    submitted = await alice.call_tool("flowise_submit", {"question": "never", "flow_override": "slow"})
    query_id = (submitted.structured_content or {})["query_id"]
    await alice.call_tool("flowise_cancel", {"query_id": query_id})

    error = await failure(alice, "flowise_poll", query_id=query_id)

    assert error["error_type"] == "QueryCancelled"


async def test_an_unknown_tool_is_an_error_of_the_protocol(alice: Client) -> None:
    with pytest.raises(MCPError, match="Unknown tool"):
        await alice.call_tool("flowise_nothing", {})


async def test_an_unreachable_flowise_leaves_everything_else_true(bridge_house: BridgeHouse) -> None:
    settings = bridge_house.settings.model_copy(update={"flowise_base_url": f"http://127.0.0.1:{free_port()}"})
    async with Client(build_server(Bridge(settings, tools="all"))) as client:
        configured = await client.call_tool("flowise_configure", {"flow_key": "slow"})
        page = await client.call_tool("flowise_browse", {"flow_key": "slow"})
        health = await client.call_tool("flowise_flow_health", {})

    shown = configured.structured_content or {}
    assert shown["overrides"] == [{"name": "temperature", "value": 0.5}]
    assert "could not be reached" in shown["note"]
    assert (page.structured_content or {})["editor_url"].endswith("00000000-0000-4000-8000-000000000001")
    assert not health.is_error


async def test_without_any_flowise_the_tools_say_so(bridge_house: BridgeHouse) -> None:
    settings = bridge_house.settings.model_copy(update={"flowise_base_url": None})
    async with Client(build_server(Bridge(settings, tools="all"))) as client:
        page = await client.call_tool("flowise_browse", {"flow_key": "slow"})

    assert "FLOWISE_BASE_URL" in (page.structured_content or {})["note"]


async def test_an_absent_langfuse_leaves_traces_to_the_record(bridge_house: BridgeHouse) -> None:
    away = {
        "langfuse_public_key": "pk",
        "langfuse_secret_key": "sk",
        "langfuse_base_url": f"http://127.0.0.1:{free_port()}",
    }
    settings = Settings.model_validate({**bridge_house.settings.model_dump(), **away})
    async with Client(build_server(Bridge(settings, tools="all"))) as client:
        asked = await client.call_tool("flowise_query", {"question": "Summarise this PDF"})
        query_id = (asked.structured_content or {})["query_id"]
        trace = await client.call_tool("flowise_trace_view", {"trace_id": query_id})
        found = await client.call_tool("flowise_trace_search", {"text": "summarise"})
        scored = await client.call_tool("flowise_quality_score", {"query_id": query_id, "value": 9})

    seen = trace.structured_content or {}
    assert seen["source"] == "the record"
    assert "Langfuse could not be read" in seen["note"]
    assert seen["ended"]
    assert [line["query_id"] for line in (found.structured_content or {})["traces"]] == [query_id]
    assert not scored.is_error


async def test_a_broker_that_is_away_is_told_and_found_again(tmp_path: Path) -> None:
    broker = Valkey(tmp_path / "broker")
    settings = Settings(redis_url=broker.url, home=tmp_path / "home")
    async with Client(build_server(Bridge(settings, tools="all"))) as client:
        for tool, arguments in [
            ("flowise_query", {"question": "anyone?"}),
            ("flowise_poll", {"query_id": "0" * 32}),
            ("flowise_cache_stats", {}),
            ("flowise_flow_health", {}),
        ]:
            error = await failure(client, tool, **arguments)
            assert error["error_type"] == "BrokerUnavailable"
            assert error["retry_after"] == 30
        flows = await client.call_tool("flowise_list_flows", {})
        with pytest.raises(MCPError) as refused:
            await client.read_resource("flowise://sessions")
        broker.start()
        try:
            submitted = await client.call_tool("flowise_submit", {"question": "anyone now?"})
        finally:
            broker.stop()

    assert not flows.is_error
    assert refused.value.error.data["error_type"] == "BrokerUnavailable"
    assert not submitted.is_error


async def test_a_bridge_finds_the_stack_that_is_started_after_it(bridge_house: BridgeHouse, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", registry=bridge_house.registry)
    settings = settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}/0"})
    # As where nobody gave an address, and nobody is at the usual one.
    settings.model_fields_set.discard("redis_url")
    async with Client(build_server(Bridge(settings, tools="all"))) as client:
        before = await failure(client, "flowise_submit", question="anyone?")
        with claim(settings.home) as home:
            home.publish(StackInfo(redis_url=bridge_house.broker.url, flowise_url=bridge_house.flowise_url))
            after = await client.call_tool("flowise_query", {"question": "Summarise this PDF"})

    assert before["error_type"] == "BrokerUnavailable"
    assert (after.structured_content or {})["flow_key"] == "document-qa"


async def test_a_fault_of_the_bridge_itself_shows_nothing_of_its_inside(
    bridge_house: BridgeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the inside of the bridge")

    monkeypatch.setattr(AsyncProducer, "submit", broken)
    async with Client(build_server(Bridge(bridge_house.settings, tools="all"))) as client:
        error = await failure(client, "flowise_query", question="?")

    assert error["error_type"] == "CallFailed"
    assert "inside" not in json.dumps(error)


async def test_rubbish_does_not_stop_the_bridge(raw: Raw, bridge_house: BridgeHouse) -> None:
    for body in (b"", b"[", b"[]", b'{"jsonrpc": "2.0"}', b"\xff\xfe", b'{"jsonrpc":"2.0","id":1,"method":7}'):
        response = await raw.http.post(bridge_house.url, content=body, headers={"Content-Type": "application/json"})
        assert 400 <= response.status_code < 500
    async with asyncio.timeout(10):
        listed = await raw.modern("tools/call", {"name": "flowise_list_flows", "arguments": {}})

    assert listed["result"]["structuredContent"]["flows"]
