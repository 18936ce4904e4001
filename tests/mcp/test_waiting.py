"""Many wait at once, workers die, and clients leave."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from bridge_house import SLOW, BridgeHouse, Raw
from mcp import Client

from agentic_flywheel.broker import wire
from agentic_flywheel.models import State
from producer import AsyncProducer


async def test_a_hundred_calls_wait_at_once_and_each_gets_its_own_answer(raw: Raw, bridge_house: BridgeHouse) -> None:
    bridge_house.behave(SLOW, latency=1.0)

    async def ask(number: int) -> dict[str, Any]:
        arguments = {"question": f"Question number {number}", "flow_override": "slow", "wait_s": 40}
        told = await raw.modern("tools/call", {"name": "flowise_query", "arguments": arguments})
        found: dict[str, Any] = told["result"]["structuredContent"]
        return found

    async with asyncio.timeout(40):
        answers = await asyncio.gather(*map(ask, range(100)))

    assert all(answer["done"] for answer in answers)
    assert len({answer["query_id"] for answer in answers}) == 100
    assert all(answer["flow_key"] == "slow" for answer in answers)


async def test_a_worker_that_is_killed_in_the_middle_of_a_call_costs_time_but_no_answer(
    alice: Client, bridge_house: BridgeHouse
) -> None:
    bridge_house.behave(SLOW, latency=1.5)
    asked = asyncio.create_task(
        alice.call_tool("flowise_query", {"question": "through it all", "flow_override": "slow", "wait_s": 45})
    )
    async with AsyncProducer(bridge_house.settings, owner="alice") as producer:
        async with asyncio.timeout(30):
            while not (recent := await producer.recent()) or recent[0].state is not State.RUNNING:
                await asyncio.sleep(0.02)
    bridge_house.workers[-1].kill()
    bridge_house.ready(await asyncio.to_thread(bridge_house.worker, wait=False))

    result = await asked
    assert not result.is_error
    assert (result.structured_content or {})["answer"]
    assert (result.structured_content or {})["query_id"] == recent[0].query_id


async def test_who_waits_for_a_query_that_is_removed_is_told_so(raw: Raw, bridge_house: BridgeHouse) -> None:
    bridge_house.behave(SLOW, latency=3.0)
    client: Any = bridge_house.client
    before = set(client.keys(wire.record_key("*")))
    arguments = {"question": "Who removes me?", "flow_override": "slow", "wait_s": 40}
    waiting = asyncio.create_task(raw.modern("tools/call", {"name": "flowise_query", "arguments": arguments}))
    while not (new := set(client.keys(wire.record_key("*"))) - before):
        await asyncio.sleep(0.02)
    (record,) = new
    while client.hget(record, "state") != State.RUNNING:
        await asyncio.sleep(0.02)
    query_id = record.removeprefix(wire.record_key(""))
    client.delete(record)
    client.publish(wire.channel_of(query_id), query_id)  # else it is looked for within half a minute

    told = (await asyncio.wait_for(waiting, 30))["result"]
    error = json.loads(told["content"][0]["text"])
    assert (told["isError"], error["error_type"]) == (True, "QueryRemoved")
    assert "unless the user has had the query removed" in error["recovery_suggestions"][0]
    while client.hlen(wire.UNACKED):
        await asyncio.sleep(0.1)
    # What counted it; `flywheel audit --repair` would do the same.
    client.zrem(wire.OPEN, query_id)
    client.srem(wire.open_in_key("creative"), query_id)
    client.delete(wire.underway_key("alice"), wire.underway_bytes_key("alice"))
