"""Tool calls as tasks, in the dialect of 2026-07-28 and in that of 2025-11-25."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from bridge_house import FOREIGN, SLOW, BridgeHouse, Raw, error_of, events, head

from producer import AsyncProducer

KNOWS_TASKS: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
MAY_ASK = {**KNOWS_TASKS, "elicitation": {}}


def query(question: str, **arguments: Any) -> dict[str, Any]:
    return {"name": "flowise_query", "arguments": {"question": question, **arguments}}


async def ended(raw: Raw, task_id: str, *, capabilities: dict[str, Any] = KNOWS_TASKS, at: str = "") -> dict[str, Any]:
    """Poll a task of 2026-07-28 until it has ended, or has the status ``at``."""
    async with asyncio.timeout(20):
        while True:
            told = await raw.modern("tasks/get", {"taskId": task_id}, capabilities=capabilities)
            task: dict[str, Any] = told["result"]
            if task["status"] in ("completed", "failed", "cancelled", at):
                return task
            await asyncio.sleep(0.05)


async def test_a_call_becomes_a_task_whose_id_is_the_querys(raw: Raw, bridge_house: BridgeHouse) -> None:
    created = await raw.modern("tools/call", query("slowly", flow_override="slow"), capabilities=KNOWS_TASKS)
    task = created["result"]
    done = await ended(raw, task["taskId"])
    async with AsyncProducer(bridge_house.settings, owner="alice") as producer:
        record = await producer.status(task["taskId"])

    assert task["resultType"] == "task"
    assert task["ttlMs"] > 0
    assert done["status"] == "completed"
    assert done["result"]["structuredContent"]["answer"] == (record.answer and record.answer.text)


async def test_a_cached_answer_needs_no_task(raw: Raw) -> None:
    question = query("Which index does this join need?")
    await raw.modern("tools/call", question)

    again = await raw.modern("tools/call", question, capabilities=KNOWS_TASKS)

    assert again["result"]["resultType"] == "complete"
    assert again["result"]["structuredContent"]["cached"]


async def test_a_failed_query_is_a_completed_task_with_an_error_to_read(raw: Raw, bridge_house: BridgeHouse) -> None:
    bridge_house.behave("00000000-0000-4000-8000-000000000002", fault="error_500")
    created = await raw.modern("tools/call", query("why?", flow_override="broken"), capabilities=KNOWS_TASKS)

    done = await ended(raw, created["result"]["taskId"])

    assert done["status"] == "completed"
    assert error_of(done["result"])["error_type"] == "FlowFailed"


async def test_bad_arguments_make_no_task(raw: Raw) -> None:
    refused = await raw.modern("tools/call", query(""), capabilities=KNOWS_TASKS)

    assert error_of(refused["result"])["error_type"] == "InvalidQuery"


async def test_a_cancelled_task_cancels_its_query(raw: Raw, bridge_house: BridgeHouse) -> None:
    bridge_house.behave(SLOW, latency=30)
    created = await raw.modern("tools/call", query("never", flow_override="slow"), capabilities=KNOWS_TASKS)
    task_id = created["result"]["taskId"]

    acknowledged = await raw.modern("tasks/cancel", {"taskId": task_id}, capabilities=KNOWS_TASKS)
    done = await ended(raw, task_id)

    assert acknowledged["result"]["resultType"] == "complete"
    assert done["status"] == "cancelled"


async def test_an_unsure_route_asks_and_goes_on_with_the_flow_that_is_chosen(raw: Raw) -> None:
    created = await raw.modern("tools/call", query(FOREIGN), capabilities=MAY_ASK)
    task_id = created["result"]["taskId"]
    asks = await ended(raw, task_id, capabilities=MAY_ASK, at="input_required")
    form = asks["inputRequests"]["flow_key"]["params"]["requestedSchema"]["properties"]["flow_key"]
    offered = [choice["const"] for choice in form["oneOf"]]
    answer = {"flow_key": {"action": "accept", "content": {"flow_key": offered[1]}}}

    nonsense = {"flow_key": {"action": "accept", "content": {"flow_key": "no-such-flow"}}, "other": 1}
    ignored = {"unknown": {"action": "accept", "content": {}}}
    await raw.modern("tasks/update", {"taskId": task_id, "inputResponses": ignored}, capabilities=MAY_ASK)
    still = await ended(raw, task_id, capabilities=MAY_ASK, at="input_required")
    await raw.modern("tasks/update", {"taskId": task_id, "inputResponses": answer}, capabilities=MAY_ASK)
    await raw.modern("tasks/update", {"taskId": task_id, "inputResponses": nonsense}, capabilities=MAY_ASK)
    done = await ended(raw, task_id, capabilities=MAY_ASK)

    assert len(offered) > 1
    assert still["status"] == "input_required"
    assert done["taskId"] == task_id
    assert done["result"]["structuredContent"]["flow_key"] == offered[1]
    assert done["result"]["structuredContent"]["kind"] == "answer"


async def test_a_poll_of_the_query_finds_the_answer_of_the_chosen_flow(raw: Raw) -> None:
    created = await raw.modern("tools/call", query(FOREIGN), capabilities=MAY_ASK)
    task_id = created["result"]["taskId"]
    await ended(raw, task_id, capabilities=MAY_ASK, at="input_required")
    answer = {"flow_key": {"action": "accept", "content": {"flow_key": "document-qa"}}}
    await raw.modern("tasks/update", {"taskId": task_id, "inputResponses": answer}, capabilities=MAY_ASK)

    poll = {"name": "flowise_poll", "arguments": {"query_id": task_id, "wait_s": 20}}
    polled = await raw.modern("tools/call", poll)

    assert polled["result"]["structuredContent"]["flow_key"] == "document-qa"
    assert polled["result"]["structuredContent"]["answer"]


async def test_a_question_that_is_declined_is_the_result(raw: Raw) -> None:
    created = await raw.modern("tools/call", query(FOREIGN), capabilities=MAY_ASK)
    task_id = created["result"]["taskId"]
    await ended(raw, task_id, capabilities=MAY_ASK, at="input_required")
    declined = {"taskId": task_id, "inputResponses": {"flow_key": {"action": "decline"}}}
    await raw.modern("tasks/update", declined, capabilities=MAY_ASK)

    done = await ended(raw, task_id, capabilities=MAY_ASK)

    assert done["status"] == "completed"
    assert done["result"]["structuredContent"]["kind"] == "clarify"


async def test_a_client_that_cannot_ask_gets_the_choices_as_the_result(raw: Raw) -> None:
    created = await raw.modern("tools/call", query(FOREIGN), capabilities=KNOWS_TASKS)

    done = await ended(raw, created["result"]["taskId"])

    assert len(done["result"]["structuredContent"]["choices"]) > 1


async def test_a_batch_is_one_task(raw: Raw) -> None:
    call = {"name": "flowise_batch", "arguments": {"questions": ["Write a poem about the sea", "Summarise this PDF"]}}
    created = await raw.modern("tools/call", call, capabilities=KNOWS_TASKS)

    done = await ended(raw, created["result"]["taskId"])

    assert done["result"]["structuredContent"]["batch_id"] == created["result"]["taskId"]
    assert done["result"]["structuredContent"]["succeeded"] == 2


async def test_another_owners_task_is_unknown(raw: Raw, bridge_house: BridgeHouse) -> None:
    async with AsyncProducer(bridge_house.settings, owner="bob") as producer:
        foreign = await producer.submit("whose?", flow="slow")

    told = await raw.modern("tasks/get", {"taskId": foreign.query_id}, capabilities=KNOWS_TASKS)

    assert told["error"]["code"] == -32602


async def test_followers_of_a_task_are_told_when_it_ends(raw: Raw, bridge_house: BridgeHouse) -> None:
    bridge_house.behave(SLOW, latency=0.5)
    created = await raw.modern("tools/call", query("follow me", flow_override="slow"), capabilities=KNOWS_TASKS)
    task_id = created["result"]["taskId"]
    wanted = {"notifications": {"taskIds": [task_id, "0" * 32]}}
    request = raw.request("subscriptions/listen", wanted, KNOWS_TASKS)
    async with raw.http.stream(
        "POST", bridge_house.url, json=request, headers=head("subscriptions/listen", wanted)
    ) as stream:
        async with asyncio.timeout(20):
            messages = [message async for message in events(stream)]

    acknowledged, *told, last = messages
    assert acknowledged["params"]["notifications"] == {"taskIds": [task_id]}
    assert {each["method"] for each in told} == {"notifications/tasks"}
    assert told[-1]["params"]["status"] == "completed"
    assert told[-1]["params"]["result"]["structuredContent"]["answer"]
    assert told[-1]["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == request["id"]
    assert last["id"] == request["id"]


async def test_following_tasks_needs_the_extension(raw: Raw) -> None:
    told = await raw.modern("subscriptions/listen", {"notifications": {"taskIds": ["0" * 32]}})

    assert told["error"]["code"] == -32021


# 2025-11-25


async def test_the_older_dialect_is_announced_where_it_is_spoken(raw: Raw) -> None:
    server = await raw.open_session()
    listed = await raw.legacy("tools/list", {})
    support = {tool["name"]: (tool.get("execution") or {}).get("taskSupport") for tool in listed["result"]["tools"]}

    assert server["capabilities"]["tasks"] == {"cancel": {}, "requests": {"tools": {"call": {}}}}
    assert support["flowise_query"] == "optional"
    assert support["flowise_poll"] is None


async def test_a_task_of_the_older_dialect_is_created_looked_at_and_its_result_fetched(raw: Raw) -> None:
    await raw.open_session()
    created = await raw.legacy("tools/call", {**query("slowly", flow_override="slow"), "task": {"ttl": 60000}})
    task = created["result"]["task"]
    looked = await raw.legacy("tasks/get", {"taskId": task["taskId"]})
    result = await raw.legacy("tasks/result", {"taskId": task["taskId"]})

    assert task["status"] in ("working", "completed")
    assert task["ttl"] > 0
    assert looked["result"]["taskId"] == task["taskId"]
    assert result["result"]["structuredContent"]["answer"]
    assert result["result"]["_meta"]["io.modelcontextprotocol/related-task"] == {"taskId": task["taskId"]}


async def test_an_ended_task_of_the_older_dialect_cannot_be_cancelled(raw: Raw, bridge_house: BridgeHouse) -> None:
    bridge_house.behave(SLOW, latency=30)
    await raw.open_session()
    created = await raw.legacy("tools/call", {**query("never", flow_override="slow"), "task": {}})
    task_id = created["result"]["task"]["taskId"]

    cancelled = await raw.legacy("tasks/cancel", {"taskId": task_id})
    again = await raw.legacy("tasks/cancel", {"taskId": task_id})
    result = await raw.legacy("tasks/result", {"taskId": task_id})

    assert cancelled["result"]["status"] == "cancelled"
    assert again["error"]["code"] == -32602
    assert "error" in result


async def test_bad_arguments_make_no_task_of_the_older_dialect(raw: Raw) -> None:
    await raw.open_session()
    told = await raw.legacy("tools/call", {**query(""), "task": {}})

    assert told["error"]["code"] == -32602
    assert told["error"]["data"]["error_type"] == "InvalidQuery"


@pytest.mark.parametrize("action", ["accept", "decline"])
async def test_the_result_of_an_unsure_task_asks_on_its_own_stream(
    raw: Raw, bridge_house: BridgeHouse, action: str
) -> None:
    await raw.open_session({"elicitation": {}})
    created = await raw.legacy("tools/call", {**query(FOREIGN), "task": {}})
    task_id = created["result"]["task"]["taskId"]
    request = {"jsonrpc": "2.0", "id": 77, "method": "tasks/result", "params": {"taskId": task_id}}
    messages = []
    async with raw.http.stream("POST", bridge_house.url, json=request) as stream, asyncio.timeout(20):
        async for message in events(stream):
            messages.append(message)
            if message.get("method") == "elicitation/create":
                answer = {"action": action, **({"content": {"flow_key": "document-qa"}} if action == "accept" else {})}
                reply = {"jsonrpc": "2.0", "id": message["id"], "result": answer}
                await raw.http.post(bridge_house.url, json=reply)

    asked, result = messages
    told = result["result"]["structuredContent"]
    assert asked["params"]["_meta"]["io.modelcontextprotocol/related-task"] == {"taskId": task_id}
    assert told["kind"] == ("answer" if action == "accept" else "clarify")
    assert action == "decline" or told["flow_key"] == "document-qa"


async def test_the_end_of_a_task_of_the_older_dialect_is_notified(raw: Raw, bridge_house: BridgeHouse) -> None:
    bridge_house.behave(SLOW, latency=0.5)
    await raw.open_session()
    async with raw.http.stream("GET", bridge_house.url) as stream, asyncio.timeout(20):
        created = await raw.legacy("tools/call", {**query("tell me", flow_override="slow"), "task": {}})
        told = await anext(events(stream))

    assert told["method"] == "notifications/tasks/status"
    assert told["params"]["taskId"] == created["result"]["task"]["taskId"]
    assert told["params"]["status"] == "completed"
