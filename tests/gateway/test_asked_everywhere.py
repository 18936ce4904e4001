"""What a flow asks a person is told with all that a decision needs, at every door and in the same words."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import uuid
from typing import Any

import httpx2
import pytest
from bridge_house import SLOW, client_of

from agentic_flywheel.errors import InputRequired
from agentic_flywheel.models import EventKind
from gateway.house import GatewayHouse, frames_of
from mcp_bridge.following import Story
from producer import AsyncProducer

CHOICES = {"proceed": "Proceed", "reject": "Reject"}


async def flywheel(house: GatewayHouse, *arguments: str) -> list[dict[str, Any]]:
    """Return what a command prints with ``--json``."""
    command = [sys.executable, "-c", "from producer.cli import main; main()", *arguments, "--owner", "alice", "--json"]
    environment = {**os.environ, **house.env}
    done = await asyncio.to_thread(subprocess.run, command, env=environment, stdout=subprocess.PIPE, check=False)
    return [json.loads(line) for line in done.stdout.splitlines()]


async def sse_stop(alice: httpx2.AsyncClient, query_id: str) -> dict[str, Any]:
    async with alice.stream("GET", f"/v1/queries/{query_id}/events") as stream:
        async for frame in frames_of(stream):
            if frame.get("event") == EventKind.INPUT_REQUIRED:
                found: dict[str, Any] = json.loads(frame["data"])
                return found
    pytest.fail("the stream ended")


async def test_every_door_tells_what_a_decision_needs(alice: httpx2.AsyncClient, gateway_house: GatewayHouse) -> None:
    gateway_house.build(SLOW, style="approval")
    question = f"Delete the database? ({uuid.uuid4().hex[:8]})"
    async with (
        AsyncProducer(gateway_house.settings, owner="alice") as producer,
        client_of(f"{gateway_house.url}/mcp") as client,
    ):
        asks = {"question": question, "flow_override": "slow", "wait_s": 20}
        called = (await client.call_tool("flowise_query", asks)).structured_content or {}
        query_id = called["query_id"]
        with pytest.raises(InputRequired) as raised:
            await producer.wait(query_id, timeout=20)
        (record,) = await producer.waiting()
        (waits,) = await flywheel(gateway_house, "waiting")
        (failed,) = await flywheel(gateway_house, "wait", query_id)
        over_http = (await alice.get(f"/v1/queries/{query_id}")).json()
        streamed = await sse_stop(alice, query_id)
        body = {"question": question, "chatId": uuid.uuid4().hex, "streaming": False}
        as_flowise = (await alice.post("/api/v1/prediction/slow", json=body)).json()
        await producer.resume(query_id, "proceed", stop=1)
        await producer.wait(query_id, timeout=20)
        events = [event async for event in producer.stream(query_id)]
        lines = await flywheel(gateway_house, "stream", query_id)
        later = await sse_stop(alice, query_id)
        await producer.cancel(everything=True)

    # The one place: what the record says of its stop.
    shown = record.stops[0].shown().model_dump(mode="json", exclude_none=True)
    assert shown == {
        "stop": 1,
        "flow": "slow",
        "text": "Proceed with it?",
        "choices": CHOICES,
        "takes_feedback": True,
        "node": "humanInputAgentflow_0",
        "title": "Human Input 0",
        "since": shown["since"],
        "until": shown["until"],
    }
    assert shown["until"] > shown["since"]
    assert over_http["asks"] == [shown]
    assert streamed.items() >= shown.items()
    assert later.items() >= shown.items()
    assert [event.data for event in events if event.kind is EventKind.INPUT_REQUIRED] == [shown]
    assert [line["data"] for line in lines if line["kind"] == "input_required"] == [shown]
    (asked,) = called["asks"]
    assert {"flow": asked.pop("flow_key"), "text": asked.pop("asks"), **asked} == shown
    story = Story()
    story.note(next(event for event in events if event.kind is EventKind.INPUT_REQUIRED))
    assert story.sentence == "its flow has stopped and asks a person: Proceed with it?"
    assert waits["stops"][0].items() >= {"text": record.stops[0].text, "node": shown["node"]}.items()
    for details in (raised.value.describe().details, failed["details"]):
        assert (details["stop"], details["flow"], details["asked"]) == (1, "slow", "Proceed with it?")
        assert (details["choices"], details["node"], details["takes_feedback"]) == (CHOICES, shown["node"], True)
        assert details["until"][:19] == shown["until"][:19]
    assert as_flowise["text"].strip() == "Proceed with it?"
    assert as_flowise["action"]["mapping"] == {"approve": "Proceed", "reject": "Reject"}
    assert as_flowise["action"]["data"]["nodeId"] == shown["node"]
