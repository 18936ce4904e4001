"""Ask, wait, poll, cancel and batch through the bridge over HTTP, with the SDK's own client, on the running stack."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from bridge_house import FOREIGN, SLOW, BridgeHouse, client_of, error_of
from faults.proxy import Proxy
from mcp import Client
from mcp_types import CallToolResult, TextContent

from agentic_flywheel.broker.control import pause, resume
from agentic_flywheel.learning.lessons import load_lessons
from agentic_flywheel.models import Event, EventKind, State
from mcp_bridge.bridge import Bridge
from mcp_bridge.following import Story
from mcp_bridge.server import build_server
from producer import AsyncProducer

QUESTION = "How do I connect PostgreSQL to Python?"


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool that is to succeed; return its structured content."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return dict(result.structured_content)


async def until_state(house: BridgeHouse, query_id: str, *states: State) -> State:
    """Wait until a query of alice's is in one of these states; return it."""
    async with AsyncProducer(house.settings, owner="alice") as producer:
        async with asyncio.timeout(30):
            while (record := await producer.status(query_id)).state not in states:
                await asyncio.sleep(0.02)
        return record.state


async def test_an_answer_comes_back_and_the_next_time_from_the_cache(alice: Client) -> None:
    first = await call(alice, "flowise_query", question=QUESTION)
    again = await call(alice, "flowise_query", question=QUESTION)

    assert first["done"]
    assert first["flow_key"] == "technical-analysis"
    assert first["band"] == "high"
    assert first["answer"]
    assert not first["cached"]
    assert again["cached"]
    assert again["answer"] == first["answer"]
    assert again["query_id"] != first["query_id"]


async def test_the_text_of_a_result_is_what_a_model_needs_of_it(alice: Client) -> None:
    result = await alice.call_tool("flowise_query", {"question": QUESTION})
    data, (content,) = dict(result.structured_content or {}), result.content
    assert isinstance(content, TextContent)
    text = content.text

    assert f"query_id: {data['query_id']}" in text
    assert text.endswith(f"answer:\n{data['answer']}")
    assert data["attempts"] == 1
    assert "attempts" not in text


async def test_a_wait_that_is_over_first_leaves_a_query_to_poll(alice: Client, bridge_house: BridgeHouse) -> None:
    bridge_house.behave(SLOW, latency=0.6)

    handle = await call(alice, "flowise_query", question="slowly", flow_override="slow", wait_s=0.2)
    polled = await call(alice, "flowise_poll", query_id=handle["query_id"], wait_s=20)

    assert not handle["done"]
    assert handle["next_step"]
    assert handle["poll_after_s"] > 0
    assert polled["done"]
    assert polled["answer"]
    assert polled["query_id"] == handle["query_id"]


async def test_what_was_streamed_so_far_is_shown_by_a_poll(alice: Client, bridge_house: BridgeHouse) -> None:
    bridge_house.behave(SLOW, token_delay=0.05)
    submitted = await call(alice, "flowise_submit", question="tell me slowly", flow_override="slow")

    async with asyncio.timeout(30):
        while not (seen := await call(alice, "flowise_poll", query_id=submitted["query_id"])).get("partial_answer"):
            await asyncio.sleep(0.05)
    ended = await call(alice, "flowise_poll", query_id=submitted["query_id"], wait_s=20)

    assert not seen["done"]
    assert ended["answer"].startswith(seen["partial_answer"][:10])


async def test_progress_is_told_while_a_query_waits_and_with_the_tokens(
    alice: Client, bridge_house: BridgeHouse
) -> None:
    bridge_house.behave(SLOW, token_delay=0.03)
    told: list[tuple[float, str]] = []
    waits = asyncio.Event()

    async def progress(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, message or ""))
        if message == "waits: the flow or its domain is paused":
            waits.set()

    async with AsyncProducer(bridge_house.settings) as producer:
        await pause(producer.batch, flow="slow")
        asking = asyncio.create_task(
            alice.call_tool(
                "flowise_query", {"question": "a tale", "flow_override": "slow"}, progress_callback=progress
            )
        )
        async with asyncio.timeout(20):
            await waits.wait()
        await resume(producer.batch, flow="slow")
        await asking

    assert any("characters so far" in message for _, message in told)
    steps = [done for done, _ in told]
    assert all(later > earlier for earlier, later in itertools.pairwise(steps))


async def test_progress_names_what_the_flow_does_and_the_result_has_what_came_of_it(
    alice: Client, bridge_house: BridgeHouse
) -> None:
    bridge_house.build(SLOW, style="maker")
    bridge_house.behave(SLOW, latency=0.8, follow_ups=True)
    told: list[str] = []

    async def progress(progress: float, total: float | None, message: str | None) -> None:
        told.append(message or "")

    question = {"question": "a plot of sales", "flow_override": "slow"}
    result = await alice.call_tool("flowise_query", question, progress_callback=progress)

    assert "slow is at its step Agent 0" in told
    found = result.structured_content or {}
    assert [each["type"] for each in found["artifacts"]] == ["html", "png"]
    assert found["tools"][0]["output"] == "plotted 6*7"
    assert [step["name"] for step in found["steps"]] == ["Start", "Agent 0"]
    assert found["steps"][1]["elapsed_ms"] >= 0
    assert "get-upload-file" in found["artifacts"][1]["link"]
    assert found["follow_ups"]


def test_a_report_says_what_the_flow_does_now_and_its_names_stay_names() -> None:
    story, said = Story(), []
    events: list[tuple[EventKind, dict[str, Any]]] = [
        (EventKind.ROUTED, {"flow": "shop"}),
        (EventKind.STEP, {"name": "Agent\n0", "status": "running"}),
        (EventKind.STEP, {"name": "Agent 0", "status": "finished"}),
        (EventKind.TOOL, {"name": "t" * 100, "status": "running"}),
        (EventKind.SOURCE, {"source": {}}),
        (EventKind.SOURCE, {"source": {}}),
        (EventKind.ARTIFACT, {"name": "plot.png"}),
        (EventKind.USAGE, {"total_tokens": 5}),
    ]
    for kind, data in events:
        story.note(Event(id="1-0", kind=kind, at=datetime.now(UTC), data=data))
        said.append(story.sentence)

    assert said == [
        "goes to shop, queued there",
        "shop is at its step Agent 0",
        "shop is at its step Agent 0",
        f"shop uses the tool {'t' * 59}…",
        "shop has found 1 source",
        "shop has found 2 sources",
        "shop has made plot.png",
        "shop has made plot.png",
    ]


@pytest.mark.parametrize("revision", ["legacy", "auto"])
async def test_a_client_that_stops_waiting_leaves_its_query_alone_and_finds_it_again(
    bridge_house: BridgeHouse, revision: str
) -> None:
    bridge_house.behave(SLOW, latency=1.5)
    async with client_of(bridge_house.url, mode=revision) as alice:
        asked = asyncio.create_task(alice.call_tool("flowise_query", {"question": "late", "flow_override": "slow"}))
        async with AsyncProducer(bridge_house.settings, owner="alice") as producer:
            async with asyncio.timeout(30):
                while not (recent := await producer.recent()) or recent[0].state is not State.RUNNING:
                    await asyncio.sleep(0.02)
        asked.cancel()
        await asyncio.sleep(0.3)

        latest = await call(alice, "flowise_poll")
        line = latest["queries"][0]
        ended = await call(alice, "flowise_poll", query_id=line["query_id"], wait_s=20)

    assert (line["query_id"], line["state"], line["question"]) == (recent[0].query_id, "running", "late")
    assert ended["answer"]


async def test_a_client_that_stops_waiting_for_a_batch_leaves_it_alone(
    alice: Client, bridge_house: BridgeHouse
) -> None:
    bridge_house.behave(SLOW, latency=1)
    questions = {"questions": ["one", "two"], "flow_override": "slow"}
    asked = asyncio.create_task(alice.call_tool("flowise_batch", questions))
    async with asyncio.timeout(30):
        while len(lines := (await call(alice, "flowise_poll"))["queries"]) < 2:
            await asyncio.sleep(0.05)
    asked.cancel()

    ended = [await call(alice, "flowise_poll", query_id=line["query_id"], wait_s=20) for line in lines]
    assert all(each["answer"] for each in ended)


async def test_a_cancelled_poll_leaves_the_query_alone(bridge_house: BridgeHouse) -> None:
    bridge_house.behave(SLOW, latency=2)
    async with client_of(bridge_house.url, mode="legacy") as alice:
        submitted = await call(alice, "flowise_submit", question="patience", flow_override="slow")
        polling = asyncio.create_task(
            alice.call_tool("flowise_poll", {"query_id": submitted["query_id"], "wait_s": 30})
        )
        await until_state(bridge_house, submitted["query_id"], State.RUNNING)
        polling.cancel()

        ended = await call(alice, "flowise_poll", query_id=submitted["query_id"], wait_s=20)
        assert ended["answer"]


async def test_running_queries_are_listed_before_ended_ones(alice: Client, bridge_house: BridgeHouse) -> None:
    bridge_house.behave(SLOW, latency=30)
    running = await call(alice, "flowise_submit", question="long", flow_override="slow")
    ended = await call(alice, "flowise_query", question=QUESTION)

    latest = await call(alice, "flowise_poll")
    found = await call(alice, "flowise_trace_search", text="LONG")

    assert [line["query_id"] for line in latest["queries"]] == [running["query_id"], ended["query_id"]]
    assert [(line["query_id"], line["running"]) for line in found["traces"]] == [(running["query_id"], True)]


async def test_cancelling_says_what_was_under_way_and_what_had_ended(alice: Client, bridge_house: BridgeHouse) -> None:
    bridge_house.behave(SLOW, latency=30)
    under_way = await call(alice, "flowise_submit", question="long", flow_override="slow")
    ended = await call(alice, "flowise_query", question=QUESTION)

    cut = await call(alice, "flowise_cancel", query_id=under_way["query_id"])
    late = await call(alice, "flowise_cancel", query_id=ended["query_id"])

    assert cut == {"cancelled": [under_way["query_id"]], "ended_before": []}
    assert late == {"cancelled": [], "ended_before": [ended["query_id"]]}


async def test_a_batch_is_one_handle_for_many_questions(alice: Client) -> None:
    questions = [QUESTION, "Write a poem about the sea", "   ", "Which clause covers liability?"]
    told: list[tuple[float, float | None]] = []

    async def progress(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total))

    result = await alice.call_tool("flowise_batch", {"questions": questions}, progress_callback=progress)
    batch = dict(result.structured_content or {})
    again = await call(alice, "flowise_batch", batch_id=batch["batch_id"])

    assert batch["done"]
    assert (batch["succeeded"], batch["failed"], batch["total"]) == (3, 1, 4)
    assert [item.get("flow_key") for item in batch["items"]] == [
        "technical-analysis",
        "creative-orientation",
        None,
        "document-qa",
    ]
    assert batch["items"][2]["error"]["error_type"] == "InvalidQuery"
    assert again["items"] == batch["items"]
    assert told
    assert told[0][1] == 3


async def test_a_batch_is_followed_and_cancelled_by_its_id(alice: Client, bridge_house: BridgeHouse) -> None:
    bridge_house.behave(SLOW, latency=30)
    started = await call(
        alice, "flowise_batch", questions=["one", "two"], flow_override="slow", wait_s=0, include_answers=False
    )

    cut = await call(alice, "flowise_cancel", batch_id=started["batch_id"])
    ended = await call(alice, "flowise_batch", batch_id=started["batch_id"])

    assert not started["done"]
    assert started["under_way"] == 2
    assert started["next_step"]
    assert sorted(cut["cancelled"]) == sorted(item["query_id"] for item in started["items"])
    assert ended["done"]
    assert [item["state"] for item in ended["items"]] == ["cancelled", "cancelled"]


async def test_an_unsure_route_lets_the_user_choose(alice: Client) -> None:
    asked = await call(alice, "flowise_query", question=FOREIGN)
    chosen = await call(alice, "flowise_query", question=FOREIGN, flow_override=asked["choices"][0]["flow_key"])

    assert asked["kind"] == "clarify"
    assert len(asked["choices"]) > 1
    assert asked["next_step"]
    assert chosen["kind"] == "answer"
    assert chosen["flow_key"] == asked["choices"][0]["flow_key"]


async def test_a_question_that_went_to_the_wrong_flow_is_asked_again_and_learned_from(
    alice: Client, bob: Client, bridge_house: BridgeHouse
) -> None:
    first = await call(alice, "flowise_query", question=QUESTION, flow_override="document-qa")
    corrected = {"question": QUESTION, "flow_override": "technical-analysis", "reroute_of": first["query_id"]}
    again = await call(alice, "flowise_query", **corrected)
    refused = await bob.call_tool("flowise_query", corrected)
    async with AsyncProducer(bridge_house.settings, owner="alice") as producer:
        record = await producer.status(again["query_id"])
        lessons = [each for each in await load_lessons(producer.batch) if each.query_id == first["query_id"]]

    assert again["flow_key"] == "technical-analysis"
    assert record.query.metadata == {"reroute_of": first["query_id"]}
    assert [(each.flows, each.right) for each in lessons] == [(("document-qa",), "technical-analysis")]
    assert refused.is_error


async def test_an_intent_names_a_flow_or_a_domain(alice: Client) -> None:
    by_flow = await call(alice, "flowise_query", question=FOREIGN, intent="document-qa")
    by_domain = await call(alice, "flowise_query", question=FOREIGN, intent="technical")

    assert (by_flow["flow_key"], by_domain["flow_key"]) == ("document-qa", "technical-analysis")


async def test_a_question_within_a_domain_takes_its_context_along(alice: Client, bridge_house: BridgeHouse) -> None:
    asked = await call(
        alice,
        "flowise_domain_query",
        question="Which index helps?",
        domain_name="technical",
        domain_description="A web shop with ten million orders",
        context_type="technical",
        stack_info="PostgreSQL 17",
    )
    async with AsyncProducer(bridge_house.settings, owner="alice") as producer:
        record = await producer.status(asked["query_id"])

    assert asked["flow_key"] == "technical-analysis"
    assert record.query.question == "Which index helps?"
    assert record.query.context is not None
    assert "PostgreSQL 17" in record.query.context
    assert "ten million orders" in record.query.context
    assert record.query.context_type == "technical"


async def test_a_conversation_is_continued_and_read(alice: Client) -> None:
    await call(alice, "flowise_query", question="Which clause covers liability?", session_id="talk-1")
    second = await call(alice, "flowise_query", question="And which one notice?", session_id="talk-1")
    info = await call(alice, "flowise_session_info", session_id=second["session_id"])
    history = await call(alice, "flowise_session_history", session_id="talk-1")
    listed = await call(alice, "flowise_session_info")

    assert info["sessions"][0]["turns"] == 2
    assert [turn["question"] for turn in history["turns"]] == [
        "Which clause covers liability?",
        "And which one notice?",
    ]
    assert history["turns"][1]["query_id"] == second["query_id"]
    assert [session["session_id"] for session in listed["sessions"]] == ["talk-1"]


@pytest.mark.parametrize("text", ["[1, 2", '"quoted"', "{not json"])
async def test_a_question_that_looks_like_json_stays_a_question(alice: Client, text: str) -> None:
    result: CallToolResult = await alice.call_tool("flowise_query", {"question": text, "flow_override": "slow"})

    assert not result.is_error


async def test_lists_and_objects_may_come_as_json_text(alice: Client) -> None:
    batch = await call(alice, "flowise_batch", questions=json.dumps([QUESTION]))

    assert batch["total"] == 1


async def test_the_same_call_with_the_same_key_asks_once(alice: Client) -> None:
    first = await call(alice, "flowise_submit", question=QUESTION, idempotency_key="order-1")
    again = await call(alice, "flowise_query", question=QUESTION, idempotency_key="order-1")
    other = await alice.call_tool("flowise_query", {"question": "Another?", "idempotency_key": "order-1"})

    assert again["query_id"] == first["query_id"]
    assert error_of(other)["error_type"] == "IdempotencyConflict"


@pytest.fixture
def proxy(bridge_house: BridgeHouse) -> Iterator[Proxy]:
    proxy = Proxy(bridge_house.broker.port)
    yield proxy
    proxy.close()


async def test_a_lost_reply_of_the_broker_is_not_seen(bridge_house: BridgeHouse, proxy: Proxy) -> None:
    url = f"redis://127.0.0.1:{proxy.port}/0"
    bridge = Bridge(bridge_house.settings.model_copy(update={"redis_url": url}))
    async with Client(build_server(bridge)) as client:
        await call(client, "flowise_poll")  # connected
        proxy.lose_reply(b"Lost between?")
        asked = await call(client, "flowise_submit", question="Lost between?")

    assert proxy.has_lost
    assert asked["query_id"]
