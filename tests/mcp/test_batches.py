"""A batch is submitted once however often it is sent, and found again by a client that gave up before it was told."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import httpx2
import pytest
from bridge_house import BridgeHouse, Raw, head

from producer import AsyncProducer


async def told(raw: Raw, tool: str, **arguments: Any) -> Any:
    """Return what a tool tells, or the error of a refusal."""
    result = (await raw.modern("tools/call", {"name": tool, "arguments": arguments}))["result"]
    return json.loads(result["content"][0]["text"]) if result.get("isError") else result["structuredContent"]


async def test_a_batch_with_a_key_is_submitted_once(raw: Raw, bridge_house: BridgeHouse) -> None:
    key, questions = f"k-{uuid.uuid4().hex}", [f"Why {number}? {uuid.uuid4().hex}" for number in range(3)]
    first = await told(raw, "flowise_batch", questions=questions, idempotency_key=key, wait_s=20)
    again = await told(raw, "flowise_batch", questions=questions, idempotency_key=key, wait_s=20)
    without = await told(raw, "flowise_batch", questions=questions, wait_s=20)

    ids = [[item["query_id"] for item in batch["items"]] for batch in (first, again, without)]
    assert first["batch_id"] == again["batch_id"] != without["batch_id"]
    assert ids[0] == ids[1]
    assert not set(ids[0]) & set(ids[2])


@pytest.mark.parametrize("change", ["another question", "one more", "one less", "another flow"])
async def test_other_content_under_a_batchs_key_is_refused(raw: Raw, change: str) -> None:
    key, questions = f"k-{uuid.uuid4().hex}", ["Why?", "Where?"]
    await told(raw, "flowise_batch", questions=questions, idempotency_key=key, wait_s=0)
    changes: dict[str, dict[str, Any]] = {
        "another question": {"questions": ["Why?", "When?"]},
        "one more": {"questions": [*questions, "Who?"]},
        "one less": {"questions": questions[:1]},
        "another flow": {"questions": questions, "flow_override": "document-qa"},
    }

    refused = await told(raw, "flowise_batch", **changes[change], idempotency_key=key, wait_s=0)

    assert refused["error_type"] == "IdempotencyConflict"


async def test_a_batch_whose_id_was_never_told_is_found_again(raw: Raw, bridge_house: BridgeHouse) -> None:
    mark = uuid.uuid4().hex
    arguments = {"questions": [f"Why {number}? {mark}" for number in range(3)], "wait_s": 30}
    params = {"name": "flowise_batch", "arguments": arguments}
    bridge_house.behave(latency=0.5)
    with pytest.raises(httpx2.TimeoutException):
        await raw.http.post(
            bridge_house.url,
            json=raw.request("tools/call", params),
            headers=head("tools/call", params),
            timeout=httpx2.Timeout(10, read=0.02),
        )
    async with asyncio.timeout(30):
        batch_ids: list[str] = []
        while not batch_ids:
            batch_ids = (await told(raw, "flowise_poll"))["batch_ids"]
            batch_ids = [each for each in batch_ids if mark in str(await told(raw, "flowise_batch", batch_id=each))]
            await asyncio.sleep(0.1)
        found = await told(raw, "flowise_batch", batch_id=batch_ids[0], wait_s=20)

    assert [item["question"] for item in found["items"]] == arguments["questions"]


async def test_a_damaged_query_of_a_batch_is_an_item_with_an_error(raw: Raw, bridge_house: BridgeHouse) -> None:
    begun = await told(raw, "flowise_batch", questions=["Why?", f"Where? {uuid.uuid4().hex}"], wait_s=20)
    damaged = begun["items"][1]["query_id"]
    async with AsyncProducer(bridge_house.settings) as producer:
        await producer.batch.call("HSET", f"flywheel:query:{damaged}", "query", "{")

    found = await told(raw, "flowise_batch", batch_id=begun["batch_id"], wait_s=20)
    polled = await told(raw, "flowise_poll", query_id=damaged)

    assert (found["done"], found["succeeded"], found["failed"]) == (True, 1, 1)
    assert polled["error_type"] == "RecordUnreadable"
