"""The bridge over stdio: the SDK's client, and the bare lines."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from bridge_house import SLOW, BridgeHouse
from mcp import Client

from agentic_flywheel.models import State
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

    assert "flowise_clear_cache" in names
    assert record.state is State.SUCCEEDED
    assert record.query.client == "mcp"


async def test_stdout_holds_the_protocol_alone_and_a_client_that_leaves_cancels(bridge_house: BridgeHouse) -> None:
    bridge_house.behave(SLOW, latency=30)
    started = bridge_house.stdio("--read-only", "--log-level", "DEBUG")
    bridge = await asyncio.create_subprocess_exec(
        started.command,
        *started.args,
        env=started.env,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert bridge.stdin is not None
    calls: list[tuple[str, dict[str, Any]]] = [
        ("tools/list", {}),
        ("tools/call", {"name": "flowise_poll", "arguments": {"query_id": "0" * 32}}),
        ("resources/read", {"uri": "flowise://nothing"}),
        ("tools/call", {"name": "flowise_query", "arguments": {"question": "never", "flow_override": "slow"}}),
    ]
    for number, (method, params) in enumerate(calls):
        message = {"jsonrpc": "2.0", "id": number, "method": method, "params": {**params, "_meta": ENVELOPE}}
        bridge.stdin.write(json.dumps(message).encode() + b"\n")
    bridge.stdin.write(b"this is no JSON\n")
    async with AsyncProducer(bridge_house.settings, owner="local") as producer, asyncio.timeout(30):
        while not (recent := await producer.recent()) or recent[0].state is not State.RUNNING:
            await asyncio.sleep(0.02)
        bridge.stdin.close()
        written, said = await bridge.communicate()
        record = await producer.status(recent[0].query_id)

    lines = [json.loads(line) for line in written.splitlines()]
    answered = {line["id"]: line for line in lines if line.get("id") is not None}
    assert all(line["jsonrpc"] == "2.0" for line in lines)
    assert len(answered[0]["result"]["tools"]) > 10
    assert not {tool["name"] for tool in answered[0]["result"]["tools"]} & {"flowise_add_flow", "flowise_clear_cache"}
    assert answered[1]["result"]["isError"]
    assert answered[2]["error"]["code"] == -32602
    assert b"DEBUG" in said
    assert bridge.returncode == 0
    assert record.state is State.CANCELLED
