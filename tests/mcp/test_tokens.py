"""What a token may do over MCP, and what ends with it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from bridge_house import SLOW, BridgeHouse, Raw, client_of, error_of, events, head
from mcp import Client
from mcp.shared.exceptions import MCPError

from agentic_flywheel.access.file import NewToken, new_token, revoke, tokens_path
from agentic_flywheel.access.grant import Grant, Scope
from agentic_flywheel.access.limits import OwnLimits
from mcp_bridge.bridge import Bridge
from mcp_bridge.prompts import PROMPTS
from mcp_bridge.resources import RESOURCES, TEMPLATES, scope_of_template
from mcp_bridge.scopes import NEEDS, missing_scope, scope_needed
from mcp_bridge.server import build_server
from mcp_bridge.tool import Tool
from mcp_bridge.toolsets import ALL_TOOLS
from producer.cli.access_checks import bridge_found, tokens_found

OTHERS = {scope: tuple(each for each in Scope if each not in (scope, Scope.ADMIN)) for scope in Scope}
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}


def made(house: BridgeHouse, *scopes: Scope, owner: str = "carol", **given: Any) -> NewToken:
    return new_token(tokens_path(house.settings), owner, scopes or (Scope.ASK, Scope.READ), **given)


@pytest.fixture
def path(bridge_house: BridgeHouse) -> Iterator[Path]:
    """The file of tokens that the standing bridge watches; as it was, afterwards."""
    path = tokens_path(bridge_house.settings)
    yield path
    path.unlink(missing_ok=True)


@asynccontextmanager
async def raw_of(house: BridgeHouse, token: NewToken) -> AsyncIterator[Raw]:
    """Speak with a token that was made just now: a bridge knows it within a second."""
    async with Raw(house.url, token.text) as raw:
        async with asyncio.timeout(30):
            while (await raw.http.post(house.url, json={})).status_code == 401:
                await asyncio.sleep(0.05)
        yield raw


async def answered(raw: Raw, house: BridgeHouse, method: str, params: dict[str, Any]) -> httpx2.Response:
    return await raw.http.post(house.url, json=raw.request(method, params), headers=head(method, params))


@pytest.mark.parametrize("tool", ALL_TOOLS, ids=lambda tool: tool.name)
def test_every_tool_needs_a_scope_and_one_that_changes_what_all_share_needs_manage(tool: Tool) -> None:
    assert isinstance(tool.scope, Scope)
    assert (tool.scope is Scope.MANAGE) == tool.changes
    assert not (tool.scope is Scope.READ and not (tool.hints.read_only_hint))


def test_every_method_that_is_served_says_which_scope_it_needs(bridge_house: BridgeHouse) -> None:
    server = build_server(Bridge(bridge_house.settings))

    assert set(server._request_handlers) <= set(NEEDS)
    assert scope_needed("anything/new", {}) is Scope.ADMIN
    wanted = {"notifications": {"resourceSubscriptions": ["flowise://flows", "flowise://traces"]}}
    assert scope_needed("subscriptions/listen", wanted) is Scope.READ


@pytest.mark.parametrize("tool", ALL_TOOLS, ids=lambda tool: tool.name)
def test_a_scope_allows_its_own_tools_alone_and_admin_all(tool: Tool) -> None:
    asked = {"method": "tools/call", "params": {"name": tool.name}}
    without = Grant(token_id="t", owner="o", scopes=frozenset(OTHERS[tool.scope]))

    for scope in (tool.scope, Scope.ADMIN):
        assert missing_scope(asked, Grant(owner="o", scopes=frozenset({scope}))) is None
    refused = missing_scope(asked, without)
    assert refused is not None
    assert (refused.scope, tool.name in refused.what) == (tool.scope, True)


async def test_what_a_token_may_not_do_is_refused_with_the_scopes_name(bridge_house: BridgeHouse, path: Path) -> None:
    asks: list[tuple[Scope, str, dict[str, Any]]] = [
        (tool.scope, "tools/call", {"name": tool.name, "arguments": {}}) for tool in ALL_TOOLS
    ]
    asks += [(each.scope, "resources/read", {"uri": each.uri}) for each in RESOURCES]
    asks += [
        (scope_of_template(each), "resources/read", {"uri": each.uri_template.replace("{id}", "0" * 32)})
        for each in TEMPLATES
    ]
    asks += [(each.scope, "prompts/get", {"name": each.name}) for each in PROMPTS]
    asks += [(Scope.ASK, "tasks/get", {"taskId": "0" * 32})]
    for scope in (Scope.ASK, Scope.READ, Scope.MANAGE):
        async with raw_of(bridge_house, made(bridge_house, *OTHERS[scope])) as raw:
            for needed, method, params in asks:
                answer = await answered(raw, bridge_house, method, params)
                if needed is not scope:
                    assert answer.status_code not in (401, 403), params
                    continue
                assert answer.status_code == 403, params
                assert f'error="insufficient_scope", scope="{scope}"' in answer.headers["www-authenticate"]
                assert answer.json()["error"]["data"]["error_type"] == "MissingScope"
                assert f"needs the scope {scope}" in answer.json()["error"]["message"]


async def test_a_token_is_shown_what_it_may_do(bridge_house: BridgeHouse, path: Path) -> None:
    async with raw_of(bridge_house, made(bridge_house, Scope.READ)) as raw:
        tools, resources, templates, prompts = [
            (await raw.modern(method, {}))["result"]
            for method in ("tools/list", "resources/list", "resources/templates/list", "prompts/list")
        ]

    assert {each["name"] for each in tools["tools"]} == {each.name for each in ALL_TOOLS if each.scope is Scope.READ}
    assert tools["cacheScope"] == "private"
    assert {each["name"] for each in resources["resources"]} == {
        each.name for each in RESOURCES if each.scope is Scope.READ
    }
    assert [each["name"] for each in templates["resourceTemplates"]] == ["session"]
    assert len(prompts["prompts"]) == len(PROMPTS)


async def test_settings_of_a_flow_are_changed_with_manage_alone(bridge_house: BridgeHouse, path: Path) -> None:
    async with raw_of(bridge_house, made(bridge_house, Scope.ASK)) as raw:
        call = {"name": "flowise_configure", "arguments": {"flow_key": "slow", "config": {"temperature": 1}}}
        refused = await raw.modern("tools/call", call)
        own = {"name": "flowise_configure", "arguments": {"session_id": "mine", "config": {"temperature": 1}}}
        taken = await raw.modern("tools/call", own)

    assert error_of(refused["result"])["error_type"] == "MissingScope"
    assert not taken["result"].get("isError")
    assert "temperature: 1" not in bridge_house.registry.read_text()


async def test_admin_sees_the_usage_of_all_owners(bridge_house: BridgeHouse, path: Path, alice: Client) -> None:
    await alice.call_tool("flowise_query", {"question": "Summarise this PDF"})
    asked = {"name": "flowise_usage_analytics", "arguments": {"by": "user"}}
    seen = []
    for scope in (Scope.READ, Scope.ADMIN):
        async with raw_of(bridge_house, made(bridge_house, scope, owner="dora")) as raw:
            told = await raw.modern("tools/call", asked)
        seen.append([row["name"] for row in told["result"]["structuredContent"]["rows"]])

    assert seen == [[], ["alice"]]


async def test_no_answer_tells_what_is_wrong_with_a_token(bridge_house: BridgeHouse, path: Path) -> None:
    revoked = made(bridge_house)
    expired = made(bridge_house, expires=datetime.now(UTC) - timedelta(days=1))
    revoke(path, [revoked.stored.id])
    unknown = f"fwt_{revoked.stored.id}_{'x' * 43}"
    await asyncio.sleep(0.6)
    told = set()
    for token in (revoked.text, expired.text, unknown, "nonsense", None):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with httpx2.AsyncClient(headers=headers) as http:
            answer = await http.post(bridge_house.url, json=LIST)
        told.add((answer.status_code, answer.headers["www-authenticate"], answer.text))

    ((status, challenge, _),) = told
    assert status == 401
    assert challenge.startswith('Bearer realm="agentic-flywheel", error="invalid_token"')


@pytest.mark.parametrize("end", ["revoked", "expired"])
async def test_what_is_open_ends_with_its_token(bridge_house: BridgeHouse, path: Path, end: str) -> None:
    bridge_house.behave(SLOW, latency=20)
    expires = datetime.now(UTC) + timedelta(seconds=4) if end == "expired" else None
    token, other = made(bridge_house, expires=expires), made(bridge_house)
    wanted = {"notifications": {"resourceSubscriptions": ["flowise://traces"]}}
    waits = {"name": "flowise_query", "arguments": {"question": "Slowly", "flow_override": "slow", "wait_s": 40}}
    async with raw_of(bridge_house, token) as raw, raw_of(bridge_house, other) as kept, asyncio.timeout(20):
        await kept.open_session()
        listening = raw.request("subscriptions/listen", wanted)
        modern_head = head("subscriptions/listen", wanted)
        async with raw.http.stream("POST", bridge_house.url, json=listening, headers=modern_head) as modern:
            told = events(modern)
            await anext(told)
            asking = asyncio.create_task(answered(raw, bridge_house, "tools/call", waits))
            await raw.open_session()
            async with raw.http.stream("GET", bridge_house.url) as legacy:
                assert "result" in await raw.legacy("resources/subscribe", {"uri": "flowise://traces"})
                if end == "revoked":
                    revoke(path, [token.stored.id])
                # All come to their end, within the test's time.
                told_at_last = [each for stream in (told, events(legacy)) async for each in stream]
                unanswered = await asking
        again = await raw.http.post(bridge_house.url, json=LIST)
        still = await kept.legacy("tools/list", {})

    assert {each["method"] for each in told_at_last} <= {"notifications/resources/updated"}
    assert '"result"' not in unanswered.text
    assert again.status_code == 401
    assert still["result"]["tools"]
    assert f"token {token.stored.id} lets nobody in any more" in bridge_house.doors[0].log


async def test_a_session_of_one_token_is_closed_to_another_of_its_owner(bridge_house: BridgeHouse, path: Path) -> None:
    async with raw_of(bridge_house, made(bridge_house)) as raw:
        await raw.open_session()
        other = made(bridge_house, Scope.ASK)
        async with raw_of(bridge_house, other):
            raw.http.headers["Authorization"] = f"Bearer {other.text}"
            response = await raw.http.post(bridge_house.url, json=LIST)

    assert response.status_code == 404


@pytest.mark.provokes("a change of the tokens is refused")
async def test_a_faulty_change_shuts_nobody_out(bridge_house: BridgeHouse, path: Path) -> None:
    token = made(bridge_house)
    async with raw_of(bridge_house, token) as raw:
        path.write_text("{")
        await asyncio.sleep(0.6)
        listed = await raw.modern("tools/list", {})

    assert listed["result"]["tools"]
    assert f"the tokens in {path} are refused" in bridge_house.doors[0].log.lower()


def test_a_bridge_does_not_start_with_a_faulty_file(tmp_path: Path) -> None:
    (tmp_path / "tokens.json").write_text("{")
    command = [sys.executable, "-m", "mcp_bridge", "--http", "0"]
    env = {"PATH": "", "FLYWHEEL_HOME": str(tmp_path)}
    ended = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, check=False)

    assert ended.returncode == 2
    assert f"The tokens in {tmp_path / 'tokens.json'} are refused" in ended.stderr


async def test_the_first_token_closes_an_open_bridge(bridge_house: BridgeHouse, path: Path) -> None:
    async with client_of(bridge_house.door(), None) as client:
        assert (await client.list_tools()).tools
        token = made(bridge_house, Scope.ASK)
        await asyncio.sleep(0.6)
        with pytest.raises((MCPError, httpx2.HTTPError)):
            await client.call_tool("flowise_list_flows", {})
    revoke(path, [token.stored.id])
    await asyncio.sleep(0.6)
    async with httpx2.AsyncClient() as http:
        assert (await http.post(bridge_house.url, json=LIST)).status_code == 401


async def test_a_tokens_own_limits_hold_for_its_queries(bridge_house: BridgeHouse, path: Path) -> None:
    bridge_house.behave(SLOW, latency=1)
    two = made(bridge_house, owner="eve", limits=OwnLimits(under_way=2))
    wide = made(bridge_house, owner="eve", limits=OwnLimits(under_way=50))
    submit = [
        {"name": "flowise_submit", "arguments": {"question": f"Why {n}?", "flow_override": "slow"}} for n in range(4)
    ]
    async with raw_of(bridge_house, two) as raw, raw_of(bridge_house, wide) as other:
        taken = [await raw.modern("tools/call", each) for each in submit[:2]]
        refused = error_of((await raw.modern("tools/call", submit[2]))["result"])
        more = await other.modern("tools/call", submit[3])
        # A batch waits until there is room.
        batch = {
            "name": "flowise_batch",
            "arguments": {"questions": [f"And {n}?" for n in range(4)], "flow_override": "slow", "wait_s": 40},
        }
        done = await raw.modern("tools/call", batch)

    assert all(not each["result"].get("isError") for each in (*taken, more))
    assert (refused["error_type"], refused["details"]["limit"]) == ("OwnerLimitReached", "under_way")
    assert (refused["details"]["most"], refused["details"]["value"]) == (2, 2)
    assert refused["retry_after"] >= 1
    assert done["result"]["structuredContent"]["succeeded"] == 4


async def test_a_batch_beyond_a_limit_takes_no_longer_than_it_may_wait(bridge_house: BridgeHouse, path: Path) -> None:
    bridge_house.behave(SLOW, latency=30)
    one = made(bridge_house, owner="fay", limits=OwnLimits(under_way=1))
    few = made(bridge_house, owner="gus", limits=OwnLimits(queries_a_minute=1))

    def batch(wait_s: float) -> dict[str, Any]:
        questions = [f"{uuid.uuid4().hex}?" for _ in range(3)]
        asked = {"questions": questions, "flow_override": "slow", "wait_s": wait_s, "timeout_s": 30}
        return {"name": "flowise_batch", "arguments": asked}

    async with raw_of(bridge_house, one) as raw, raw_of(bridge_house, few) as other:
        began = time.monotonic()
        begun = (await raw.modern("tools/call", batch(0)))["result"]["structuredContent"]
        again = error_of((await raw.modern("tools/call", batch(0)))["result"])
        at_once = time.monotonic() - began
        await raw.modern("tools/call", batch(5))
        for_five = time.monotonic() - began - at_once
        minute = (await other.modern("tools/call", batch(2)))["result"]["structuredContent"]
        refused = error_of((await other.modern("tools/call", batch(20)))["result"])
        for_a_minute = time.monotonic() - began - at_once - for_five
        await raw.modern("tools/call", {"name": "flowise_cancel", "arguments": {"batch_id": begun["batch_id"]}})
        await other.modern("tools/call", {"name": "flowise_cancel", "arguments": {"batch_id": minute["batch_id"]}})

    assert (begun["failed"], begun["under_way"], again["details"]["limit"]) == (2, 1, "under_way")
    assert at_once < 3
    assert for_five < 7
    assert (minute["failed"], refused["details"]["limit"]) == (2, "queries_a_minute")
    assert for_a_minute < 5


async def test_the_doctor_finds_a_bridge_that_lets_in_everybody(bridge_house: BridgeHouse, path: Path) -> None:
    ports = [int(url.removesuffix("/mcp").rpartition(":")[2]) for url in (bridge_house.door(), bridge_house.url)]
    found = [await bridge_found(["127.0.0.1"], port) for port in (*ports, 1)]

    assert [each.state for each in found] == ["failed", "ok", "ok"]
    assert "it needs no token" in found[0].found
    assert "asks for a token" in found[1].found


@pytest.mark.provokes("a change of the tokens is refused")
def test_the_doctor_says_what_is_wrong_with_the_tokens(bridge_house: BridgeHouse, path: Path) -> None:
    settings = bridge_house.settings
    none = tokens_found(settings)
    made(bridge_house, expires=datetime.now(UTC) - timedelta(days=1))
    made(bridge_house)
    some = tokens_found(settings)
    path.write_text("{")
    faulty = tokens_found(settings)

    assert (none.state, none.found) == ("ok", "none: only this machine may ask")
    assert (some.state, some.found) == ("ok", f"1 in {path}, 1 expired")
    assert faulty.state == "failed"
    assert str(path) in faulty.found
    assert faulty.advice
