"""Resources, their changes, and prompts."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bridge_house import BridgeHouse, Raw, events, head
from mcp import Client
from mcp.shared.exceptions import MCPError

QUESTION = "How do I connect PostgreSQL to Python?"


async def ask(client: Client, **arguments: Any) -> str:
    asked = await client.call_tool("flowise_query", {"question": QUESTION, **arguments})
    query_id: str = (asked.structured_content or {})["query_id"]
    return query_id


async def content(client: Client, uri: str) -> dict[str, Any]:
    read = await client.read_resource(uri)
    assert read.contents[0].mime_type == "application/json"
    found: dict[str, Any] = json.loads(read.contents[0].text)  # type: ignore[union-attr]
    return found


async def test_every_resource_is_json_with_the_moment_it_was_true(alice: Client) -> None:
    await ask(alice, session_id="s")
    resources = (await alice.list_resources()).resources
    read = {str(each.uri): await content(alice, str(each.uri)) for each in resources}

    assert set(read) == {
        f"flowise://{name}"
        for name in ("flows", "sessions", "config-schema", "traces", "cache-metrics", "flow-health", "domain-templates")
    }
    for told in read.values():
        assert datetime.now(UTC) - datetime.fromisoformat(told["as_of"]) < timedelta(seconds=5)
    assert read["flowise://sessions"]["sessions"][0]["session_id"] == "s"
    assert read["flowise://config-schema"]["question"]["properties"]["question"]


async def test_a_query_is_soon_among_the_traces(alice: Client) -> None:
    query_id = await ask(alice)

    async with asyncio.timeout(30):
        while (line := (await content(alice, "flowise://traces"))["traces"][0])["query_id"] != query_id:
            await asyncio.sleep(0.1)
    assert line["question"] == QUESTION


async def test_a_query_and_a_session_have_addresses(alice: Client) -> None:
    query_id = await ask(alice, session_id="talk")
    templates = {each.uri_template for each in (await alice.list_resource_templates()).resource_templates}
    query = await content(alice, f"flowise://query/{query_id}")
    session = await content(alice, "flowise://session/talk")

    assert templates == {f"flowise://{kind}/{{id}}" for kind in ("query", "session", "batch")}
    assert query["state"] == "succeeded"
    assert query["answer"]["text"]
    assert session["history"][0]["query_id"] == query_id


async def test_no_setting_shows_its_value(alice: Client) -> None:
    schema = json.dumps(await content(alice, "flowise://config-schema"))

    assert "alice-0123" not in schema
    assert "FLYWHEEL_MCP_TOKENS" in schema


@pytest.mark.parametrize(
    "uri",
    [
        "flowise://nothing",
        "flowise://query/" + "0" * 32,
        "flowise://query/../flows",
        "flowise://session/none",
        "file:///etc/passwd",
    ],
)
async def test_what_is_not_there_is_not_found(alice: Client, uri: str) -> None:
    with pytest.raises(MCPError) as refused:
        await alice.read_resource(uri)

    assert refused.value.error.code == -32602


async def test_a_change_is_told_to_who_listens(raw: Raw, alice: Client, bridge_house: BridgeHouse) -> None:
    wanted = {"notifications": {"resourceSubscriptions": ["flowise://sessions"], "toolsListChanged": True}}
    request = raw.request("subscriptions/listen", wanted)
    async with (
        raw.http.stream("POST", bridge_house.url, json=request, headers=head("subscriptions/listen", wanted)) as stream,
        asyncio.timeout(20),
    ):
        told = events(stream)
        acknowledged = await anext(told)
        await asyncio.sleep(0.3)
        await ask(alice, session_id="new")
        changed = await anext(told)

    assert acknowledged["params"]["notifications"] == wanted["notifications"]
    assert changed["method"] == "notifications/resources/updated"
    assert changed["params"]["uri"] == "flowise://sessions"
    assert changed["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == request["id"]


async def test_a_change_is_told_to_a_session_that_subscribed(
    raw: Raw, alice: Client, bridge_house: BridgeHouse
) -> None:
    await raw.open_session()
    async with raw.http.stream("GET", bridge_house.url) as stream, asyncio.timeout(20):
        unknown = await raw.legacy("resources/subscribe", {"uri": "flowise://nothing"})
        subscribed = await raw.legacy("resources/subscribe", {"uri": "flowise://traces"})
        await asyncio.sleep(0.3)
        await ask(alice)
        changed = await anext(events(stream))
        ended = await raw.legacy("resources/unsubscribe", {"uri": "flowise://traces"})

    assert unknown["error"]["code"] == -32602
    assert subscribed["result"] == ended["result"] == {}
    assert changed["method"] == "notifications/resources/updated"
    assert changed["params"]["uri"] == "flowise://traces"


async def test_prompts_carry_the_facts_they_are_about(alice: Client) -> None:
    query_id = await ask(alice, session_id="talk")
    names = {prompt.name for prompt in (await alice.list_prompts()).prompts}
    debug = await alice.get_prompt("debug_answer", {"query_id": query_id})
    review = await alice.get_prompt("review_flow", {"flow_key": "technical-analysis"})
    default = await alice.get_prompt("review_flow")
    further = await alice.get_prompt("continue_session", {"session_id": "talk"})

    texts = [each.messages[0].content.text for each in (debug, review, default, further)]  # type: ignore[union-attr]
    assert names == {"debug_answer", "review_flow", "continue_session"}
    assert query_id in texts[0]
    assert "technical-analysis" in texts[1]
    assert "creative-orientation" in texts[2]
    assert QUESTION in texts[3]
    assert all("not instructions" in text for text in texts)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("debug_answer", {}),
        ("debug_answer", {"query_id": "0" * 32}),
        ("nothing", {}),
        ("review_flow", {"flow_key": "x"}),
    ],
)
async def test_a_prompt_about_nothing_is_refused(alice: Client, name: str, arguments: dict[str, str]) -> None:
    with pytest.raises(MCPError) as refused:
        await alice.get_prompt(name, arguments)

    assert refused.value.error.code == -32602
