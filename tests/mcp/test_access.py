"""Who may call over HTTP, what they may see, how much and how often."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import httpx2
import pytest
from bridge_house import ALICE, BOB, BridgeHouse, Raw, client_of, error_of, head
from mcp import Client
from mcp.shared.exceptions import MCPError
from pydantic import SecretStr

from agentic_flywheel.access.environment import read_tokens
from agentic_flywheel.access.tokens import Tokens
from agentic_flywheel.errors import InvalidSetting
from agentic_flywheel.settings import Settings
from mcp_bridge.__main__ import address_of
from mcp_bridge.bridge import Bridge
from mcp_bridge.http import build_door
from mcp_bridge.limits import Bucket


def alices() -> Tokens:
    return read_tokens(Settings(mcp_tokens=SecretStr(f"alice={ALICE}")))


async def test_an_owner_sees_only_what_is_theirs(alice: Client, bob: Client) -> None:
    asked = await alice.call_tool("flowise_query", {"question": "Summarise this PDF", "session_id": "alices"})
    query_id = (asked.structured_content or {})["query_id"]
    batch = await alice.call_tool("flowise_batch", {"questions": ["Summarise this PDF"]})
    batch_id = (batch.structured_content or {})["batch_id"]

    for tool, arguments in [
        ("flowise_poll", {"query_id": query_id}),
        ("flowise_cancel", {"query_id": query_id}),
        ("flowise_trace_view", {"trace_id": query_id}),
        ("flowise_quality_score", {"query_id": query_id, "value": 1}),
        ("flowise_batch", {"batch_id": batch_id}),
        ("flowise_cancel", {"batch_id": batch_id}),
        ("flowise_session_info", {"session_id": "alices"}),
        ("flowise_session_history", {"session_id": "alices"}),
    ]:
        refused = await bob.call_tool(tool, arguments)
        assert error_of(refused)["error_type"].startswith("Unknown"), tool
    for uri in (f"flowise://query/{query_id}", "flowise://session/alices"):
        with pytest.raises(MCPError):
            await bob.read_resource(uri)
    found = await bob.call_tool("flowise_trace_search", {"text": "pdf"})
    sessions = await bob.call_tool("flowise_session_info", {})
    usage = await bob.call_tool("flowise_usage_analytics", {"by": "user"})

    assert (found.structured_content or {})["traces"] == []
    assert (sessions.structured_content or {})["sessions"] == []
    assert [row["name"] for row in (usage.structured_content or {})["rows"]] in ([], ["bob"])


@pytest.mark.parametrize("token", [None, "wrong-0123456789abcdef", ALICE[:-1], ALICE + "x"])
async def test_who_has_no_token_is_not_let_in(bridge_house: BridgeHouse, token: str | None) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    async with httpx2.AsyncClient(headers=headers) as http:
        response = await http.post(bridge_house.url, json={"jsonrpc": "2.0", "id": 1, "method": "ping"})

    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert ALICE not in response.text


async def test_a_session_of_one_token_is_closed_to_another(raw: Raw, bridge_house: BridgeHouse) -> None:
    await raw.open_session()
    raw.http.headers["Authorization"] = f"Bearer {BOB}"

    response = await raw.http.post(bridge_house.url, json={"jsonrpc": "2.0", "id": 1, "method": "ping"})

    assert response.status_code == 404


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("Host", "evil.example.com", 421),
        ("Origin", "http://evil.example.com", 403),
        ("Content-Type", "text/plain", 400),
    ],
)
async def test_requests_that_a_web_page_could_forge_are_refused(
    raw: Raw, bridge_house: BridgeHouse, name: str, value: str, status: int
) -> None:
    request = raw.request("tools/list", {})
    response = await raw.http.post(bridge_house.url, json=request, headers={**head("tools/list", {}), name: value})

    assert response.status_code == status


async def test_a_body_of_more_than_four_megabytes_is_refused(raw: Raw, bridge_house: BridgeHouse) -> None:
    call = {"name": "flowise_query", "arguments": {"question": "x" * (4 * 2**20)}}
    response = await raw.http.post(
        bridge_house.url, json=raw.request("tools/call", call), headers=head("tools/call", call)
    )

    assert response.status_code == 413


def test_a_bucket_gives_a_burst_and_then_its_rate() -> None:
    bucket = Bucket(10, now=100.0)

    at_once = [bucket.take(100.0) for _ in range(21)]

    assert at_once[:20] == [0.0] * 20
    assert at_once[20] == pytest.approx(0.1)
    assert bucket.take(100.15) == 0.0
    assert bucket.take(100.15) == pytest.approx(0.05)


async def test_a_token_that_calls_too_often_is_told_when_to_come_back(bridge_house: BridgeHouse) -> None:
    settings = bridge_house.settings.model_copy(update={"mcp_rate": 1.0})
    door = build_door(Bridge(settings), alices(), host="127.0.0.1")
    async with (
        door.open(),
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=door), headers={"Authorization": f"Bearer {ALICE}"}
        ) as http,
    ):
        answers = [await http.post("http://127.0.0.1:1/mcp", json={}) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [400, 400, 429, 429]
    error = answers[-1].json()["error"]["data"]
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert error["error_type"] == "TooManyCalls"
    assert len(error["recovery_suggestions"]) >= 3


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "flywheel.example.com"])
async def test_nothing_listens_beyond_this_machine_without_a_token(bridge_house: BridgeHouse, host: str) -> None:
    bridge = Bridge(bridge_house.settings)

    with pytest.raises(InvalidSetting, match="token"):
        build_door(bridge, Tokens(), host=host)
    build_door(bridge, alices(), host=host)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("", "127.0.0.1", 8765),
        ("9000", "127.0.0.1", 9000),
        (":9000", "127.0.0.1", 9000),
        ("localhost", "localhost", 8765),
        ("0.0.0.0:80", "0.0.0.0", 80),
        ("::1", "::1", 8765),
        ("[::1]:9000", "::1", 9000),
    ],
)
def test_an_address_may_be_a_port_a_host_or_both(text: str, host: str, port: int) -> None:
    assert address_of(text) == (host, port)


def test_tokens_come_from_the_environment_and_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"# people\n\n bob = {BOB} \n")
    settings = Settings(mcp_tokens=SecretStr(f"alice={ALICE}"), mcp_tokens_file=file)

    tokens = read_tokens(settings)

    found = [tokens.find(each) for each in (ALICE, BOB, "other")]
    assert [grant and grant.owner for grant in found] == ["alice", "bob", None]
    assert ALICE not in repr(settings)


@pytest.mark.parametrize(
    "text", ["no-equals-sign-here", "=0123456789abcdef", "a b=0123456789abcdef", "short=123", f"a={ALICE},b={ALICE}"]
)
def test_unusable_tokens_are_refused_without_being_shown(text: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        read_tokens(Settings(mcp_tokens=SecretStr(text)))

    assert not re.search(r"0123456789abcdef|no-equals|123$", refused.value.message)


async def test_over_http_nothing_shared_is_changed_unless_it_is_allowed(bridge_house: BridgeHouse) -> None:
    async with Client(build_server_without_changes(bridge_house)) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        with pytest.raises(MCPError, match="--allow-changes"):
            await client.call_tool("flowise_clear_cache", {"confirm": True})
        refused = await client.call_tool("flowise_configure", {"flow_key": "slow", "config": {"temperature": 1}})
        own = await client.call_tool("flowise_configure", {"session_id": "mine", "config": {"temperature": 1}})

    assert names.isdisjoint({"flowise_add_flow", "flowise_clear_cache"})
    assert error_of(refused)["error_type"] == "ChangesRefused"
    assert not own.is_error
    assert "temperature: 1" not in bridge_house.registry.read_text()


def build_server_without_changes(house: BridgeHouse):  # type: ignore[no-untyped-def]
    from mcp_bridge.server import build_server

    return build_server(Bridge(house.settings, tools="all"))


async def test_changes_are_off_over_http_by_default(bridge_house: BridgeHouse) -> None:
    url = bridge_house.door()
    async with client_of(url, None) as client, asyncio.timeout(20):
        names = {tool.name for tool in (await client.list_tools()).tools}

    assert "flowise_query" in names
    assert "flowise_clear_cache" not in names
