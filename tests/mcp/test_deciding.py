"""A flow asks a person: a task asks through its client where that can, else the model is told of ``flowise_resume``."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from bridge_house import BOB, SLOW, TOKENS, BridgeHouse, Raw, error_of, events
from celery import Celery
from mcp import Client

from agentic_flywheel.broker import wire

KNOWS_TASKS: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
MAY_ASK = {**KNOWS_TASKS, "elicitation": {}}


def asking(**arguments: Any) -> dict[str, Any]:
    question = f"Delete the database? ({uuid.uuid4().hex[:8]})"
    return {"name": "flowise_query", "arguments": {"question": question, "flow_override": "slow", **arguments}}


def resume(query_id: str, decision: str, **arguments: Any) -> dict[str, Any]:
    return {"name": "flowise_resume", "arguments": {"query_id": query_id, "decision": decision, **arguments}}


@pytest.fixture(autouse=True)
async def cautious(bridge_house: BridgeHouse, raw: Raw) -> AsyncIterator[None]:
    """The flow `slow` stops and asks a person."""
    bridge_house.build(SLOW, style="approval")
    yield
    polled = await raw.modern("tools/call", {"name": "flowise_poll", "arguments": {}})
    for line in polled["result"]["structuredContent"]["queries"]:
        if line["state"] == "input_required":
            cancel = {"name": "flowise_cancel", "arguments": {"query_id": line["query_id"]}}
            await raw.modern("tools/call", cancel)


async def until(raw: Raw, task_id: str, *statuses: str, capabilities: dict[str, Any] = MAY_ASK) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while True:
            told = await raw.modern("tasks/get", {"taskId": task_id}, capabilities=capabilities)
            assert "result" in told, told
            task: dict[str, Any] = told["result"]
            if task["status"] in statuses:
                return task
            await asyncio.sleep(0.05)


async def test_a_call_returns_what_is_asked_and_what_to_do_next(raw: Raw) -> None:
    told = (await raw.modern("tools/call", asking()))["result"]
    view = told["structuredContent"]
    resumed = (await raw.modern("tools/call", resume(view["query_id"], "proceed", feedback="go")))["result"]
    other = (await raw.modern("tools/call", resume(view["query_id"], "reject")))["result"]

    assert not told["isError"]
    assert (view["state"], view["done"]) == ("input_required", False)
    assert "flowise_resume" in view["next_step"]
    (asks,) = view["asks"]
    assert (asks["stop"], asks["asks"]) == (1, "Proceed with it?")
    assert asks["choices"] == {"proceed": "Proceed", "reject": "Reject"}
    assert "Proceed with it?" in told["content"][0]["text"]
    assert resumed["structuredContent"]["query_id"] == view["query_id"]
    assert (resumed["structuredContent"]["done"], resumed["structuredContent"]["answer"]) == (True, "approved")
    assert error_of(other)["error_type"] == "AlreadyDecided"


async def test_a_query_is_followed_and_decided_by_the_name_that_a_plain_client_gave_it(
    raw: Raw, bridge_house: BridgeHouse
) -> None:
    client = Celery(broker=bridge_house.broker.url, backend=bridge_house.broker.url)
    named, asked = f"order:17.{uuid.uuid4().hex[:8]}", {"question": "Delete it?", "flow": "slow", "owner": "alice"}
    sent = client.send_task(wire.CLASSIFY, [asked], queue=wire.CLASSIFY_QUEUE, task_id=named)
    async with asyncio.timeout(20):
        while True:
            poll = {"name": "flowise_poll", "arguments": {"query_id": named}}
            told = (await raw.modern("tools/call", poll))["result"]
            if not told["isError"] and told["structuredContent"]["state"] == "input_required":
                break
            assert not told["isError"] or error_of(told)["error_type"] == "UnknownQuery"
            await asyncio.sleep(0.05)
    await raw.modern("tools/call", resume(named, "reject"))
    unnameable = (await raw.modern("tools/call", resume("a b", "reject")))["result"]

    assert (await asyncio.to_thread(sent.get, timeout=20))["text"] == "rejected"
    assert error_of(unnameable)["details"]["field_name"] == "query_id"


async def test_another_owners_query_is_unknown(raw: Raw, bridge_house: BridgeHouse) -> None:
    view = (await raw.modern("tools/call", asking()))["result"]["structuredContent"]
    async with Raw(bridge_house.url, BOB) as bob:
        refused = (await bob.modern("tools/call", resume(view["query_id"], "proceed")))["result"]

    assert error_of(refused)["error_type"] == "UnknownQuery"


async def test_a_task_asks_its_clients_user_and_goes_on_with_the_decision(raw: Raw, bridge_house: BridgeHouse) -> None:
    bridge_house.behave(SLOW, stops=2)
    call = asking()
    question = call["arguments"]["question"]
    created = await raw.modern("tools/call", call, capabilities=MAY_ASK)
    task_id = created["result"]["taskId"]

    for number, decision in ((1, "proceed"), (2, "reject")):
        asks = await until(raw, task_id, "input_required")
        request = asks["inputRequests"][f"stop_{number}"]
        form = request["params"]["requestedSchema"]["properties"]
        assert request["params"]["message"] == "Proceed with it?"
        assert [choice["const"] for choice in form["decision"]["oneOf"]] == ["proceed", "reject"]
        # Which of a user's queries it is: a flow asks the same of all.
        assert form["decision"]["description"] == f"slow asks this for your question “{question}”"
        assert asks["ttlMs"] > 6 * 86_400_000
        for nonsense in ({"action": "decline"}, {"action": "accept", "content": {"decision": "perhaps"}}):
            answers = {f"stop_{number}": nonsense, "unknown": 1}
            await raw.modern("tasks/update", {"taskId": task_id, "inputResponses": answers}, capabilities=MAY_ASK)
        assert (await until(raw, task_id, "input_required"))["inputRequests"].keys() == {f"stop_{number}"}
        answers = {f"stop_{number}": {"action": "accept", "content": {"decision": decision, "feedback": "because"}}}
        for _ in range(2):
            await raw.modern("tasks/update", {"taskId": task_id, "inputResponses": answers}, capabilities=MAY_ASK)
    done = await until(raw, task_id, "completed")

    assert done["result"]["structuredContent"]["answer"] == "rejected"
    assert [each["humanInput"]["type"] for each in bridge_house.latest(3)[1:]] == ["proceed", "reject"]


async def test_a_task_whose_client_cannot_ask_tells_its_model_what_to_do(raw: Raw) -> None:
    created = await raw.modern("tools/call", asking(), capabilities=KNOWS_TASKS)
    told = await until(raw, created["result"]["taskId"], "completed", capabilities=KNOWS_TASKS)

    view = told["result"]["structuredContent"]
    assert (view["state"], view["done"]) == ("input_required", False)
    assert "flowise_resume" in view["next_step"]


async def test_the_result_of_a_task_of_the_older_dialect_asks_on_its_own_stream(
    raw: Raw, bridge_house: BridgeHouse
) -> None:
    await raw.open_session({"elicitation": {}})
    created = await raw.legacy("tools/call", {**asking(), "task": {}})
    task_id = created["result"]["task"]["taskId"]
    request = {"jsonrpc": "2.0", "id": 77, "method": "tasks/result", "params": {"taskId": task_id}}
    messages = []
    async with raw.http.stream("POST", bridge_house.url, json=request) as stream, asyncio.timeout(20):
        async for message in events(stream):
            messages.append(message)
            if message.get("method") == "elicitation/create":
                answer = {"action": "accept", "content": {"decision": "proceed"}}
                reply = {"jsonrpc": "2.0", "id": message["id"], "result": answer}
                await raw.http.post(bridge_house.url, json=reply)

    asked, result = messages
    assert asked["params"]["message"] == "Proceed with it?"
    assert result["result"]["structuredContent"]["answer"] == "approved"


async def test_a_wait_for_a_person_that_expires_ends_the_call_of_whoever_follows_it(
    raw: Raw, alice: Client, bridge_house: BridgeHouse
) -> None:
    """Whoever follows it is told by progress that a person is asked, never that it is queued, and why it has ended."""
    await raw.open_session({"elicitation": {}})
    params = {**asking(), "_meta": {"progressToken": "p"}}
    request = {"jsonrpc": "2.0", "id": 78, "method": "tools/call", "params": params}
    told: list[str] = []

    async def progress(progress: float, total: float | None, message: str | None) -> None:
        told.append(message or "")

    messages = list[dict[str, Any]]()
    async with raw.http.stream("POST", bridge_house.url, json=request) as stream, asyncio.timeout(20):
        async for message in events(stream):
            messages.append(message)
            if message.get("method") == "elicitation/create":
                (query_id,) = map(str, bridge_house.client.zrange(wire.ASKED, -1, -1))
                poll = {"query_id": query_id, "wait_s": 20}
                await alice.call_tool("flowise_poll", poll, progress_callback=progress)
                bridge_house.client.zadd(wire.ASKED, {query_id: 1})
    error = error_of(messages[-1]["result"])

    assert error["error_type"] == "NobodyDecided"
    assert messages[-2]["method"] == "notifications/cancelled"
    assert told == ["its flow has stopped and asks a person: Proceed with it?"]


async def test_a_batch_says_which_of_its_questions_wait_for_a_person(raw: Raw) -> None:
    questions = [asking()["arguments"]["question"] for _ in range(2)]
    batch = {"name": "flowise_batch", "arguments": {"questions": questions, "flow_override": "slow", "wait_s": 3}}

    view = (await raw.modern("tools/call", batch))["result"]["structuredContent"]

    assert [item["state"] for item in view["items"]] == ["input_required"] * 2
    assert not view["done"]
    assert "wait for the user" in view["next_step"]


@pytest.fixture
def weekend_house(tmp_path: Path) -> Iterator[BridgeHouse]:
    """A house whose broker keeps what it was told, and whose processes may be killed."""
    house = BridgeHouse(tmp_path, aof=True)
    try:
        house.build(SLOW, style="approval")
        house.url = house.door(FLYWHEEL_MCP_TOKENS=TOKENS)
        house.worker()
        yield house
    finally:
        house.stop()


async def test_what_mcp_asks_on_friday_the_command_line_decides_on_monday(weekend_house: BridgeHouse) -> None:
    house = weekend_house
    async with Raw(house.url) as client:
        created = await client.modern("tools/call", asking(), capabilities=MAY_ASK)
        task_id = created["result"]["taskId"]
        await until(client, task_id, "input_required")
        house.workers[-1].kill()
        house.broker.kill()
        await asyncio.to_thread(house.broker.start)
        await asyncio.to_thread(house.worker)
        # Three days later, by another process.
        house.client.hincrby(wire.record_key(task_id), "created", -3 * 86_400_000)
        flywheel = [sys.executable, "-c", "from producer.cli import main; main()"]
        command = [*flywheel, "resume", task_id, "--proceed", "--owner", "alice"]
        decided = await asyncio.to_thread(
            subprocess.run, command, env={**os.environ, **house.env}, capture_output=True, text=True, check=False
        )
        done = await until(client, task_id, "completed")
        polled = await client.modern("tools/call", {"name": "flowise_poll", "arguments": {"query_id": task_id}})

    assert decided.returncode == 0, decided.stderr
    assert done["result"]["structuredContent"]["answer"] == "approved"
    assert polled["result"]["structuredContent"]["answer"] == "approved"
