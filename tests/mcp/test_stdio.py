"""The bridge over stdio: the SDK's client, and the bare lines."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from bridge_house import SLOW, BridgeHouse, error_of
from mcp import Client

from agentic_flywheel.models import State
from mcp_bridge.raw_messages import too_long
from mcp_bridge.toolsets import GROUPS
from producer import AsyncProducer

ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


async def test_the_sdks_client_asks_flywheel_mcp_over_stdio(bridge_house: BridgeHouse) -> None:
    flywheel = bridge_house.stdio()
    flywheel = flywheel.model_copy(update={"command": str(Path(sys.executable).with_name("flywheel")), "args": ["mcp"]})
    async with Client(flywheel) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        asked = await client.call_tool("flowise_query", {"question": "Summarise this PDF"})
        query_id = (asked.structured_content or {})["query_id"]
    async with AsyncProducer(bridge_house.settings, owner="local") as producer:
        record = await producer.status(query_id)

    assert names == {tool.name for tool in GROUPS["ask"]}
    assert record.state is State.SUCCEEDED
    assert record.query.client == "mcp"


@asynccontextmanager
async def started(house: BridgeHouse, *options: str) -> AsyncIterator[Process]:
    """Start a bridge over stdio, to speak to it in bare lines."""
    given = house.stdio(*options)
    bridge = await asyncio.create_subprocess_exec(
        given.command, *given.args, env=given.env, stdin=PIPE, stdout=PIPE, stderr=PIPE, limit=2**23
    )
    try:
        yield bridge
    finally:
        if bridge.returncode is None:
            bridge.kill()
        await bridge.wait()


def line(number: int, method: str, **params: Any) -> bytes:
    message = {"jsonrpc": "2.0", "id": number, "method": method, "params": {**params, "_meta": ENVELOPE}}
    return json.dumps(message).encode() + b"\n"


async def test_stdout_holds_the_protocol_alone_and_a_client_that_leaves_leaves_its_query(
    bridge_house: BridgeHouse,
) -> None:
    bridge_house.behave(SLOW, latency=1.5)
    async with started(bridge_house, "--tools", "all", "--log-level", "DEBUG") as bridge:
        assert bridge.stdin is not None
        bridge.stdin.write(line(0, "tools/list"))
        bridge.stdin.write(line(1, "tools/call", name="flowise_poll", arguments={"query_id": "0" * 32}))
        bridge.stdin.write(line(2, "resources/read", uri="flowise://nothing"))
        asked = {"question": "later", "flow_override": "slow"}
        bridge.stdin.write(line(3, "tools/call", name="flowise_query", arguments=asked))
        async with AsyncProducer(bridge_house.settings, owner="local") as producer, asyncio.timeout(30):
            while not (recent := await producer.recent()) or recent[0].state is not State.RUNNING:
                await asyncio.sleep(0.02)
            bridge.stdin.close()
            written, said = await bridge.communicate()
            answer = await producer.wait(recent[0].query_id)

    lines = [json.loads(each) for each in written.splitlines()]
    answered = {each["id"]: each for each in lines if each.get("id") is not None}
    assert all(each["jsonrpc"] == "2.0" for each in lines)
    assert not {tool["name"] for tool in answered[0]["result"]["tools"]} & {"flowise_add_flow", "flowise_clear_cache"}
    assert error_of(answered[1]["result"])["error_type"] == "UnknownQuery"
    assert answered[2]["error"]["code"] == -32602
    assert b"DEBUG" in said
    assert bridge.returncode == 0
    assert answer.text


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_ends_the_bridge_also_while_a_call_waits(
    bridge_house: BridgeHouse, number: signal.Signals, status: int
) -> None:
    bridge_house.behave(SLOW, latency=30)
    async with started(bridge_house) as bridge:
        assert bridge.stdin is not None
        asked = {"question": "for long", "flow_override": "slow"}
        bridge.stdin.write(line(1, "tools/call", name="flowise_query", arguments=asked))
        async with AsyncProducer(bridge_house.settings, owner="local") as producer, asyncio.timeout(30):
            while not (recent := await producer.recent()) or recent[0].state is not State.RUNNING:
                await asyncio.sleep(0.02)
            bridge.send_signal(number)
            await bridge.wait()
            record = await producer.status(recent[0].query_id)

    assert bridge.returncode == status
    assert record.state is State.RUNNING


#: What other readers of JSON take for JSON, or for one of its two meanings.
TWISTED: dict[str, tuple[bytes, int, int | None]] = {
    "not a number": (b'{"jsonrpc": "2.0", "id": 7, "method": "ping", "params": {"a": NaN}}', -32700, None),
    "nan alone": (b"NaN", -32700, None),
    "a key twice": (b'{"jsonrpc": "2.0", "id": 7, "method": "ping", "params": {"a": 1, "a": 2}}', -32602, 7),
}
#: No text and no whole number.
_ODD_IDS = (b"null", b"1.5", b"{}", b"[]", b"true")


#: Lines that are no message, with the code and the id of what is answered.
NO_MESSAGES: dict[str, tuple[bytes, int, int | None]] = {
    "text": (b"this is no JSON", -32700, None),
    "cut": (b'{"jsonrpc": "2.0", "id": 7, "method": "ping"', -32700, None),
    "surrogate": (b'{"jsonrpc": "2.0", "id": 7, "method": "ping", "params": {"a": "\\ud800"}}', -32602, 7),
    "mark": (b'\xef\xbb\xbf{"jsonrpc": "2.0", "id": 7, "method": "ping"}', -32700, None),
    "utf-16": (b"\xff\xfe", -32700, None),
    "deep": (
        b'{"jsonrpc": "2.0", "id": 7, "method": "ping", "params": {"a": ' + b"[" * 300 + b"]" * 300 + b"}}",
        -32602,
        7,
    ),
    "open": (b"[" * 5000, -32700, None),
    "long": (b'{"jsonrpc": "2.0", "id": 7, "method": "' + b"x" * (5 * 2**20) + b'"}', -32600, 7),
    "method": (b'{"jsonrpc": "2.0", "id": 7, "method": 8}', -32600, 7),
    **{odd.decode(): (b'{"jsonrpc": "2.0", "id": ' + odd + b', "method": "ping"}', -32600, None) for odd in _ODD_IDS},
    "list": (b"[]", -32600, None),
    "number": (b"42", -32600, None),
    **TWISTED,
}


async def test_a_line_that_is_no_message_is_answered_and_the_next_one_too(bridge_house: BridgeHouse) -> None:
    told: dict[str, tuple[bytes, int, int | None]] = {}
    async with started(bridge_house) as bridge, asyncio.timeout(100):
        assert bridge.stdin is not None
        assert bridge.stdout is not None
        for name, (sent, _, _) in NO_MESSAGES.items():
            bridge.stdin.write(sent + b"\n\n" + line(9, "tools/list"))
            refused, listed = [json.loads(await bridge.stdout.readline()) for _ in range(2)]
            told[name] = sent, refused["error"]["code"], refused["id"]
            assert listed["result"]["tools"], name

    assert told == NO_MESSAGES


@pytest.mark.parametrize(
    ("begin", "end", "told"),
    [
        (b'{"jsonrpc":"2.0","id":7,"method":"a', b'"}', 7),
        (b'{"method":"a', b'"},"jsonrpc":"2.0","id":"a-7"}', "a-7"),
        (b'{"method":"a","params":{"jsonrpc":"2.0","id":8,', b"", None),
        (b"", b'"x","jsonrpc":"2.0","id":8}}', None),
        (b'{"id":7,"jsonrpc":"2.0","method":"a', b'"}', None),
    ],
)
def test_a_message_that_is_too_long_is_answered_under_its_id_where_that_is_sure(
    begin: bytes, end: bytes, told: int | str | None
) -> None:
    fault = too_long(begin, end, 10)

    assert fault.request_id == told
    assert "10 bytes" in fault.message


async def test_what_is_printed_by_others_does_not_reach_the_client(bridge_house: BridgeHouse) -> None:
    script = "import mcp_bridge.__main__ as bridge, mcp_bridge.server as server\n"
    script += "server.build_server = lambda given, make=server.build_server: print('a stray line') or make(given)\n"
    script += "bridge.main([])"
    given = bridge_house.stdio()
    bridge = await asyncio.create_subprocess_exec(
        given.command, "-c", script, env=given.env, stdin=PIPE, stdout=PIPE, stderr=PIPE, limit=2**23
    )
    assert bridge.stdin is not None
    assert bridge.stdout is not None
    bridge.stdin.write(line(1, "tools/list"))
    first = await bridge.stdout.readline()
    rest, said = await bridge.communicate(b"")

    assert json.loads(first)["id"] == 1
    assert rest == b""
    assert b"a stray line" in said
