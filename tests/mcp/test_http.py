"""The bridge over HTTP, below the protocol: addresses, restarts, broken streams, many connections, subscriptions."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import resource
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import psutil
import pytest
from bridge_house import ALICE, BOB, SLOW, TOKENS, BridgeHouse, Raw, client_of, events, head
from mcp.server.auth.middleware import bearer_auth
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types import JSONRPCNotification
from processes import free_port

from agentic_flywheel.access.tokens import Tokens
from mcp_bridge import connections, door
from mcp_bridge.bridge import Bridge
from mcp_bridge.http import build_door
from mcp_bridge.listening import MOST_NAMES
from mcp_bridge.sessions import KeptMessages, LastingSessions

LIST_FLOWS = {"name": "flowise_list_flows", "arguments": {}}


async def test_a_closing_slash_makes_no_difference(bridge_house: BridgeHouse) -> None:
    async with Raw(bridge_house.url + "/") as raw:
        listed = await raw.modern("tools/call", LIST_FLOWS)

    assert listed["result"]["structuredContent"]["flows"]


async def test_its_health_is_told_to_whoever_asks(bridge_house: BridgeHouse) -> None:
    async with httpx2.AsyncClient() as http:
        healthy = await http.get(bridge_house.url.removesuffix("/mcp") + "/healthz")
        other = await http.get(bridge_house.url.removesuffix("/mcp") + "/health")

    assert (healthy.status_code, healthy.json()) == (200, {"status": "ok"})
    assert other.status_code == 404


@pytest.mark.parametrize(
    ("sent", "code", "request_id"),
    [
        (b'{"jsonrpc": "2.0", "id": 7, "method": "ping", "params": {"a": "\\ud800"}}', -32602, 7),
        (b'{"jsonrpc": "2.0", "id": 7, "method": "ping", "params": {"a": Infinity}}', -32700, None),
        (b'{"jsonrpc": "2.0", "id": 7, "method": "ping", "params": {"a": 1, "a": 2}}', -32602, 7),
        (b"NaN", -32700, None),
        (b"[]", -32600, None),
        (b"[1]", -32600, None),
        (b"", -32700, None),
        (b"[" * 5000, -32700, None),
        (b"\xff\xfe", -32700, None),
        (b'{"jsonrpc": "2.0", "id": 1.5, "method": "ping"}', -32600, None),
    ],
)
@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8"])
async def test_what_is_no_message_is_answered_as_json_rpc_says_and_begins_no_session(
    bridge_house: BridgeHouse, sent: bytes, code: int, request_id: int | None, kind: str
) -> None:
    headers = {"Content-Type": kind, "Accept": "application/json, text/event-stream"}
    async with Raw(bridge_house.url) as raw:
        answer = await raw.http.post(bridge_house.url, content=sent, headers=headers)

    told = answer.json()
    assert (answer.status_code, told["error"]["code"], told["id"]) == (400, code, request_id)
    assert "mcp-session-id" not in answer.headers


_PING = b'{"jsonrpc": "2.0", "id": 7, "method": "ping", "params": %b}'
#: 15,000 keys, the last of them twice.
_TWICE = b"{" + b"".join(b'"k%d": 1, ' % number for number in range(15_000)) + b'"k14999": 1}'


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (_PING % _TWICE, "the key 'k14999' is given twice"),
        (_PING % (b'{"a": [' + b"[[1]]," * 500_000 + b"0]}"), "it has more than 30,000 values"),
        (_PING % (b'{"a": {' + b"".join(b'"k%d":1,' % n for n in range(300_000)) + b'"k":1}}'), "more than 30,000"),
    ],
    ids=["a key twice", "lists", "keys"],
)
async def test_a_message_of_many_values_keeps_nobody_waiting(
    bridge_house: BridgeHouse, body: bytes, reason: str
) -> None:
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    longest = 0.0
    async with Raw(bridge_house.url) as raw, httpx2.AsyncClient(timeout=60) as other:
        sending = asyncio.create_task(raw.http.post(bridge_house.url, content=body, headers=headers, timeout=60))
        while not sending.done():
            begun = time.monotonic()
            await other.get(bridge_house.url.replace("/mcp", "/healthz"))
            longest = max(longest, time.monotonic() - begun)
    answer = await sending

    assert answer.status_code == 400
    assert reason in answer.json()["error"]["message"]
    assert longest < 1


async def test_an_argument_of_text_holds_no_more_values_than_a_message(bridge_house: BridgeHouse) -> None:
    async with Raw(bridge_house.url) as raw:
        for name in ("config", "form"):
            arguments = {"question": "Why?", name: json.dumps({"a": [0] * 30_001})}
            told = await raw.modern("tools/call", {"name": "flowise_query", "arguments": arguments})
            error = json.loads(told["result"]["content"][0]["text"])
            assert (told["result"]["isError"], error["details"]["field_name"]) == (True, name)
            assert "it has more than 30,000 values" in error["error"]


async def test_what_is_refused_is_not_told_back_at_any_length(bridge_house: BridgeHouse) -> None:
    long, many = "x" * 1_000_000, {f"k{number}": 1 for number in range(20_000)}
    async with Raw(bridge_house.url) as raw:
        await raw.open_session()
        told = [
            await raw.legacy("tools/call", {"name": "flowise_query", "arguments": many}),
            await raw.legacy("tools/call", {"name": "flowise_query", "arguments": {long: 1}}),
            await raw.legacy("tools/call", {"name": long, "arguments": {}}),
            await raw.legacy("resources/read", {"uri": f"flowise://query/{long}"}),
            await raw.legacy("prompts/get", {"name": long}),
        ]

    assert max(len(json.dumps(each)) for each in told) < 8000
    assert "k0: there is no field of this name" in told[0]["result"]["content"][0]["text"]


async def test_a_key_that_is_given_twice_in_an_argument_of_text_is_refused(bridge_house: BridgeHouse) -> None:
    async with Raw(bridge_house.url) as raw:
        for name in ("config", "form"):
            arguments = {"question": "Why?", name: '{"a": 1, "a": 2}'}
            told = await raw.modern("tools/call", {"name": "flowise_query", "arguments": arguments})
            error = json.loads(told["result"]["content"][0]["text"])
            assert (told["result"]["isError"], error["error_type"]) == (True, "InvalidQuery")
            assert "the key 'a' is given twice" in error["error"]


async def test_a_session_outlives_a_restart_of_the_bridge(bridge_house: BridgeHouse) -> None:
    port = free_port()
    url = bridge_house.door(port=port)
    async with Raw(url) as raw:
        await raw.open_session()
        bridge_house.doors[-1].terminate()
        bridge_house.door(port=port)
        asked = await raw.legacy("tools/call", {"name": "flowise_query", "arguments": {"question": "And now?"}})
        stream = await raw.http.get(url)

    assert asked["result"]["structuredContent"]["answer"]
    assert stream.status_code == 405


async def test_a_session_of_before_a_restart_belongs_to_the_token_that_goes_on_with_it(
    bridge_house: BridgeHouse,
) -> None:
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    port = free_port()
    url = bridge_house.door(port=port, FLYWHEEL_MCP_TOKENS=TOKENS)
    async with Raw(url) as alice, Raw(url, token=BOB) as bob:
        await alice.open_session()
        bridge_house.doors[-1].terminate()
        bridge_house.door(port=port, FLYWHEEL_MCP_TOKENS=TOKENS)
        bob.http.headers["mcp-session-id"] = alice.http.headers["mcp-session-id"]
        bob.http.headers["mcp-protocol-version"] = "2025-11-25"
        answers = [await each.http.post(url, json=ping) for each in (alice, bob, alice, bob)]
        stream = await bob.http.get(url)

    assert [each.status_code for each in answers] == [200, 404, 200, 404]
    assert stream.status_code == 404


@pytest.mark.parametrize(
    ("owner", "name", "value"),
    [
        (StreamableHTTPSessionManager, "_handle_stateful_request", None),
        (StreamableHTTPSessionManager, "_handle_stateless_request", lambda self, scope: None),
        (StreamableHTTPSessionManager, "_discard_session", None),
        (bearer_auth, "authorization_context", lambda user: {"issuer": None}),
        (LastingSessions, "_server_instances", property(lambda self: (), lambda self, value: None)),
        (LastingSessions, "_session_owners", property(lambda self: (), lambda self, value: None)),
    ],
)
async def test_with_another_form_of_the_sdk_sessions_work_and_end_with_the_bridge(
    bridge_house: BridgeHouse, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, value: object
) -> None:
    with monkeypatch.context() as changed:
        changed.setattr(owner, name, value, raising=False)
        app = build_door(Bridge(bridge_house.settings), Tokens(), host="127.0.0.1")
    async with app.open(), Raw("http://127.0.0.1:1/mcp", transport=httpx2.ASGITransport(app=app)) as raw:
        await raw.open_session()
        asked = await raw.legacy("tools/call", {"name": "flowise_query", "arguments": {"question": "And now?"}})
        raw.http.headers["mcp-session-id"] = "0" * 32
        earlier = await raw.http.post("http://127.0.0.1:1/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "ping"})

    assert asked["result"]["structuredContent"]["answer"]
    assert earlier.status_code == 404


async def test_a_session_that_its_client_ended_is_over(raw: Raw, bridge_house: BridgeHouse) -> None:
    await raw.open_session()
    await raw.http.delete(bridge_house.url)
    response = await raw.http.post(bridge_house.url, json={"jsonrpc": "2.0", "id": 1, "method": "ping"})
    raw.http.headers["mcp-session-id"] = "no-such-session"
    invented = await raw.http.post(bridge_house.url, json={"jsonrpc": "2.0", "id": 1, "method": "ping"})

    assert (response.status_code, invented.status_code) == (404, 404)


async def test_a_stream_begins_with_its_place_and_is_taken_up_from_there(raw: Raw, bridge_house: BridgeHouse) -> None:
    bridge_house.behave(SLOW, latency=1)
    await raw.open_session()
    asked = {"name": "flowise_query", "arguments": {"question": "broken off", "flow_override": "slow"}}
    request = {"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": asked}
    async with raw.http.stream("POST", bridge_house.url, json=request) as stream:
        lines = [line async for line in _first(stream.aiter_lines(), 3)]
    # Here the network breaks; the client comes back with what it saw last.
    place = next(line[4:] for line in lines if line.startswith("id: "))
    async with raw.http.stream("GET", bridge_house.url, headers={"last-event-id": place}) as stream:
        async with asyncio.timeout(20):
            answer = await anext(message async for message in events(stream) if message.get("id") == 5)

    assert "retry: 1000" in lines
    assert answer["result"]["structuredContent"]["answer"]


async def _first(lines: AsyncIterator[str], number: int) -> AsyncIterator[str]:
    for _ in range(number):
        yield await anext(lines)


async def test_what_is_kept_for_broken_streams_is_bounded_and_of_one_stream_only() -> None:
    kept, sent = KeptMessages(), list[Any]()
    message = JSONRPCNotification(jsonrpc="2.0", method="notifications/x", params={"text": "x" * 10_000})

    async def send(event: Any) -> None:
        sent.append(event.event_id)

    places = [await kept.store_event(stream, message) for _, stream in zip(range(40), itertools.cycle("ab"))]

    assert await kept.replay_events_after(places[0], send) is None
    assert await kept.replay_events_after(places[-4], send) == "a"
    assert sent == [places[-2]]


async def test_two_thousand_idle_connections_do_not_stop_the_service(bridge_house: BridgeHouse) -> None:
    port = free_port()
    url = bridge_house.door(port=port)
    _files_of_our_own(2_300)
    idle = []
    try:
        for _ in range(20):
            idle += await asyncio.gather(*(asyncio.open_connection("127.0.0.1", port) for _ in range(100)))
        async with client_of(url, None) as client, asyncio.timeout(20):
            flows = await client.call_tool("flowise_list_flows", {})
    finally:
        for _, writer in idle:
            writer.close()

    assert not flows.is_error


def _files_of_our_own(number: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard not in (-1, resource.RLIM_INFINITY) and hard < number:
        pytest.skip(f"this system lets a process open {hard} files only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, number), hard))


@contextlib.asynccontextmanager
async def served(house: BridgeHouse, monkeypatch: pytest.MonkeyPatch, **limits: float) -> AsyncIterator[int]:
    """Serve a bridge in this process, with limits of the test's; yield its port."""
    import uvicorn

    for name, value in limits.items():
        monkeypatch.setattr(connections if hasattr(connections, name) else door, name, value)
    monkeypatch.setattr(connections.ClientConnection, "most", int(limits.get("MOST_CONNECTIONS", 100)))
    port = free_port()
    app = build_door(Bridge(house.settings), Tokens(), host="127.0.0.1")
    config = uvicorn.Config(app, http=connections.ClientConnection, port=port, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    async with app.open():
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.02)
        try:
            yield port
        finally:
            server.should_exit = True
            await serving


async def test_a_connection_without_a_request_is_closed(
    bridge_house: BridgeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(bridge_house, monkeypatch, PATIENCE=0.3) as port, asyncio.timeout(20):
        silent, _ = await asyncio.open_connection("127.0.0.1", port)
        slow, writer = await asyncio.open_connection("127.0.0.1", port)

        async def drip() -> None:
            with contextlib.suppress(OSError):
                for letter in b"POST /mcp HTTP/1.1\r\nX: " + b"x" * 100:
                    writer.write(bytes([letter]))
                    await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        ended = [await silent.read(), await slow.read()]
        dripping.cancel()

    assert ended == [b"", b""]


async def test_a_body_that_does_not_come_is_not_waited_for(
    bridge_house: BridgeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAccept: */*\r\n"
    async with served(bridge_house, monkeypatch, BODY_TIME=0.3) as port, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head + b"Content-Length: 100\r\n\r\n{")
        status = await reader.readline()

    assert b"408" in status


async def test_a_connection_too_many_takes_the_place_of_the_longest_idle(
    bridge_house: BridgeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(bridge_house, monkeypatch, MOST_CONNECTIONS=3) as port, asyncio.timeout(20):
        opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        first = await opened[0][0].read()
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        status = await reader.readline()

    assert first == b""
    assert b"200" in status


async def test_a_session_follows_a_bounded_number_of_resources(raw: Raw) -> None:
    await raw.open_session()
    told = []
    for number in range(MOST_NAMES + 1):
        await raw.legacy(
            "tools/call", {"name": "flowise_query", "arguments": {"question": "?", "session_id": f"s{number}"}}
        )
        told.append(await raw.legacy("resources/subscribe", {"uri": f"flowise://session/s{number}"}))

    assert all("result" in each for each in told[:-1])
    assert "Too many subscriptions" in told[-1]["error"]["message"]


async def test_one_token_has_a_bounded_number_of_open_streams_and_others_have_theirs(
    bridge_house: BridgeHouse,
) -> None:
    url = bridge_house.door(FLYWHEEL_MCP_TOKENS=TOKENS, FLYWHEEL_MCP_OPEN="5")
    params = {"notifications": {"resourceSubscriptions": ["flowise://traces"]}}
    async with Raw(url, ALICE) as alice, Raw(url, BOB) as bob, contextlib.AsyncExitStack() as streams:
        body, told_on = alice.request("subscriptions/listen", params), []
        for _ in range(5):
            stream = alice.http.stream("POST", url, json=body, headers=head("subscriptions/listen", params))
            response = await streams.enter_async_context(stream)
            told_on.append(events(response))  # kept: its end would be the stream's
            await anext(told_on[-1])

        refused = await alice.http.post(url, json=body, headers=head("subscriptions/listen", params))
        theirs = await bob.modern("tools/list", {})
        await streams.aclose()
        async with asyncio.timeout(30):
            while "result" not in await alice.modern("tools/list", {}):
                await asyncio.sleep(0.1)

    told = refused.json()["error"]["data"]
    assert (refused.status_code, told["error_type"]) == (429, "TooManyOpen")
    assert told["details"] == {"owner": "alice", "what": "requests and streams", "most": 5}
    assert theirs["result"]["tools"]


async def test_one_token_has_a_bounded_number_of_subscriptions_over_all_its_sessions(bridge_house: BridgeHouse) -> None:
    url = bridge_house.door(FLYWHEEL_MCP_TOKENS=TOKENS, FLYWHEEL_MCP_OPEN="3")
    told: list[dict[str, Any]] = []
    for _ in range(2):
        async with Raw(url, ALICE) as raw:
            await raw.open_session()
            names = ("traces", "flows")
            told += [await raw.legacy("resources/subscribe", {"uri": f"flowise://{name}"}) for name in names]

    assert [each.get("error", {}).get("data", {}).get("error_type") for each in told] == [None] * 3 + ["TooManyOpen"]


async def test_subscriptions_cost_little_whatever_their_number(bridge_house: BridgeHouse) -> None:
    url = bridge_house.door()
    process = psutil.Process(bridge_house.doors[-1].pid)
    async with contextlib.AsyncExitStack() as open_sessions:
        for _ in range(10):
            raw = await open_sessions.enter_async_context(Raw(url))
            await raw.open_session()
            for name in ("traces", "flow-health", "cache-metrics"):
                assert "result" in await raw.legacy("resources/subscribe", {"uri": f"flowise://{name}"})
        before = process.cpu_times()
        await asyncio.sleep(3)
        after = process.cpu_times()

    # A share of one core, in processor time: other load on the machine does not count.
    assert (after.user + after.system - before.user - before.system) / 3 < 0.25


async def test_an_address_may_be_written_with_escapes(raw: Raw) -> None:
    name = "Größe:1/2"
    await raw.modern("tools/call", {"name": "flowise_query", "arguments": {"question": "?", "session_id": name}})
    read = await raw.modern("resources/read", {"uri": "flowise://session/Gr%C3%B6%C3%9Fe%3A1%2F2"})

    assert json.loads(read["result"]["contents"][0]["text"])["session_id"] == name


async def test_a_client_that_has_roots_is_served_and_asked_for_none(raw: Raw, bridge_house: BridgeHouse) -> None:
    """Files are given in the call, or below the folder that whoever starts the bridge names: no client's roots."""
    await raw.open_session({"roots": {"listChanged": True}})
    changed = {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}
    noted = await raw.http.post(bridge_house.url, json=changed)
    call = {"name": "flowise_query", "arguments": {"question": "Which clause covers liability?"}}
    request = {"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": call}
    async with raw.http.stream("POST", bridge_house.url, json=request) as stream, asyncio.timeout(20):
        messages = [message async for message in events(stream)]

    assert noted.status_code == 202
    assert [message.get("id") for message in messages] == [5]
    assert messages[0]["result"]["structuredContent"]["done"]
