"""How flows can be made to behave, what is counted, and what is remembered."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import struct
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from agentic_flywheel.backends.flowise import FlowiseClient
from agentic_flywheel.backends.models import FlowAnswer, FlowCall
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowError
from flowise_sandbox import Behaviour, Fault, RateLimit
from flowise_sandbox import chats as remembering
from flowise_sandbox import counts as counting
from flowise_sandbox.answers import reply, tokens, topics
from flowise_sandbox.behaviour import Conduct
from flowise_sandbox.chats import Chats, message
from flowise_sandbox.counts import Counts
from flowise_sandbox.flows import BUNDLED
from flowise_sandbox.server import Sandbox

CREATIVE, TECHNICAL, DOCUMENTS = (Flow(key=flow.name, id=flow.id, domain="tests") for flow in BUNDLED)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as running:
        yield running


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[FlowiseClient]:
    async with FlowiseClient(sandbox.url) as opened:
        yield opened


@pytest.fixture
async def control(sandbox: Sandbox) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(sandbox.url) as opened:
        yield opened


async def outcome(client: FlowiseClient, flow: Flow, question: str = "Why?", **fields: Any) -> FlowAnswer | FlowError:
    try:
        return await client.predict(FlowCall(flow=flow, question=question, **fields), timeout=5)
    except FlowError as failure:
        return failure


# Answers


@pytest.mark.parametrize("flow", BUNDLED, ids=lambda flow: flow.name)
def test_the_same_question_gets_the_same_answer_with_its_own_words(flow: Any) -> None:
    question = "Why does the telescope drift during winter?"

    first, second = reply(flow, question), reply(flow, question)

    assert first == second
    assert "telescope" in first.text
    assert reply(flow, "How do glaciers move?").text != first.text
    assert len(first.text.split()) > 20


def test_every_flow_answers_in_its_own_voice() -> None:
    texts = {reply(flow, "What is the telescope for?").text for flow in BUNDLED}

    assert len(texts) == 3


@pytest.mark.parametrize("question", ["", "??", "of it", "{a}{0}", "😀"])
def test_a_question_without_words_is_answered_too(question: str) -> None:
    assert all(reply(flow, question).text for flow in BUNDLED)


def test_a_prepended_context_is_not_the_question() -> None:
    assert topics("Context: telescopes drift.\n\nHow do old glaciers move in winter?") == ["glaciers move", "winter"]


def test_the_pieces_of_a_text_make_the_text() -> None:
    text = "  One\n\n two  three. "

    assert "".join(tokens(text)) == text
    assert len(tokens(text)) > 2


async def test_honoured_overrides_show_in_the_answer(sandbox: Sandbox, client: FlowiseClient) -> None:
    config: dict[str, Any] = {"maxOutputTokens": 4}
    ignored = await outcome(client, TECHNICAL, config=config)
    sandbox.behave(TECHNICAL.id, Behaviour(overrides=True))
    honoured = await outcome(client, TECHNICAL, config=config)
    minded = await outcome(client, TECHNICAL, config={"vars": {"context": "a small team"}})

    assert isinstance(ignored, FlowAnswer)
    assert isinstance(honoured, FlowAnswer)
    assert isinstance(minded, FlowAnswer)
    assert len(honoured.text.split()) == 4 < len(ignored.text.split())
    assert "a small team" in minded.text


# Faults


def test_a_share_of_faults_is_the_seeds_and_repeats() -> None:
    def sequence(seed: int) -> list[Fault | None]:
        conduct = Conduct(Behaviour(fault=Fault.ERROR, fault_share=0.3, seed=seed))
        return [conduct.next_fault() for _ in range(1000)]

    assert sequence(1) == sequence(1) != sequence(2)
    assert 250 < sequence(1).count(Fault.ERROR) < 350


async def test_only_the_first_calls_fail(sandbox: Sandbox, client: FlowiseClient) -> None:
    sandbox.behave(TECHNICAL.id, Behaviour(fault=Fault.PROVIDER_DOWN, fault_first=2))

    outcomes = [await outcome(client, TECHNICAL) for _ in range(4)]

    assert [isinstance(each, FlowError) for each in outcomes] == [True, True, False, False]


def test_a_rate_limit_opens_again_with_its_next_window() -> None:
    conduct = Conduct(Behaviour(rate_limit=RateLimit(calls=2, seconds=10)))

    windows = [conduct.admit(now) for now in (100, 101, 102, 109.5, 110)]

    assert [window.refused for window in windows if window] == [False, False, True, True, False]
    assert [window.remaining for window in windows if window] == [1, 0, 0, 0, 1]
    assert [window.retry_after for window in windows if window and window.refused] == [8, 1]


async def test_closing_does_not_wait_for_calls_that_hang(client: FlowiseClient) -> None:
    async with Sandbox(behaviour=Behaviour(fault=Fault.HANG)) as hanging, aiohttp.ClientSession(hanging.url) as session:
        with pytest.raises(TimeoutError):
            await session.post(
                f"/api/v1/prediction/{TECHNICAL.id}", json={"question": "x"}, timeout=aiohttp.ClientTimeout(total=0.1)
            )
        began = time.monotonic()

    assert time.monotonic() - began < 5


# The control API


async def test_behaviour_flows_and_counts_are_set_and_read_over_http(
    sandbox: Sandbox, client: FlowiseClient, control: aiohttp.ClientSession
) -> None:
    flow = Flow(key="new", id=str(uuid.uuid4()), domain="tests")
    async with control.put(f"/sandbox/flows/{flow.id}", json={"name": "new", "style": "llm"}) as added:
        assert added.status == 200
    async with control.put(
        f"/sandbox/flows/{flow.id}/behaviour", json={"fault": "error_500", "fault_first": 1}
    ) as set_:
        assert (await set_.json())["fault"] == "error_500"

    outcomes = [await outcome(client, flow, question) for question in ("Why?", "Why?", "How?")]
    async with control.get("/sandbox/calls") as told:
        counts = await told.json()
    async with control.get("/sandbox/calls", params={"question": "Why?"}) as told:
        one = await told.json()

    assert [isinstance(each, FlowError) for each in outcomes] == [True, False, False]
    assert counts["total"] == counts["flows"][flow.id] == 3
    assert counts["questions"] == {"Why?": 2, "How?": 1}
    assert counts["repeated"] == 1
    assert counts["recent"][-1]["question"] == "How?"
    assert one["question"] == 2
    assert "recent" not in one


async def test_a_default_behaviour_meets_every_flow_but_those_set_apart(
    sandbox: Sandbox, client: FlowiseClient, control: aiohttp.ClientSession
) -> None:
    await outcome(client, CREATIVE)
    sandbox.behave(TECHNICAL.id, Behaviour(latency=0.001))
    async with control.put("/sandbox/behaviour", json={"fault": "unauthorized"}) as changed:
        assert changed.status == 200

    assert isinstance(await outcome(client, CREATIVE), FlowError)
    assert isinstance(await outcome(client, DOCUMENTS), FlowError)
    assert isinstance(await outcome(client, TECHNICAL), FlowAnswer)


async def test_a_reset_forgets_everything(
    sandbox: Sandbox, client: FlowiseClient, control: aiohttp.ClientSession
) -> None:
    sandbox.behave(CREATIVE.id, Behaviour(fault=Fault.ERROR))
    await outcome(client, CREATIVE)
    await outcome(client, DOCUMENTS, chat_id="c")
    async with control.post("/sandbox/reset") as done:
        assert done.status == 200

    assert sandbox.counts.total == 0
    assert await client.find_answer(DOCUMENTS, "c") is None
    assert isinstance(await outcome(client, CREATIVE), FlowAnswer)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/sandbox/behaviour", '{"latency": -1}', 400),
        ("/sandbox/behaviour", '{"colour": "red"}', 400),
        ("/sandbox/behaviour", "{oops", 400),
        (f"/sandbox/flows/{CREATIVE.id}/behaviour", '{"fault": "magic"}', 400),
        ("/sandbox/flows/unknown/behaviour", "{}", 404),
        ("/sandbox/flows/x", '{"style": "magic"}', 400),
    ],
)
async def test_a_faulty_control_call_is_refused_with_its_reason(
    path: str, body: str, status: int, control: aiohttp.ClientSession
) -> None:
    async with control.put(path, data=body, headers={"Content-Type": "application/json"}) as refused:
        assert refused.status == status
        assert (await refused.json())["error"]


# The server's own oddities


@pytest.mark.parametrize(
    ("method", "path", "status", "content_type"),
    [
        ("GET", "/", 200, "text/html"),
        ("GET", f"/api/v1/prediction/{CREATIVE.id}", 200, "text/html"),
        ("GET", "/api/v1/nothing-here", 401, "application/json"),
        ("GET", "/API/V1/ping", 401, "application/json"),
        ("GET", "/api/v1/chatflows?page=1&limit=2", 200, "application/json"),
        ("GET", "/api/v1/chatflows?page=x", 412, "application/json"),
        ("PUT", "/api/v1/feedback/unknown", 404, "application/json"),
    ],
)
async def test_wrong_paths_and_methods(method: str, path: str, status: int, content_type: str) -> None:
    async with Sandbox(api_key="key") as guarded, aiohttp.ClientSession(guarded.url) as session:
        headers = {"Authorization": "Bearer key"} if "chatflows" in path else {}
        async with session.request(method, path, headers=headers, json={} if method == "PUT" else None) as answered:
            assert (answered.status, answered.content_type) == (status, content_type)
            if "limit" in path:
                page = await answered.json()
                assert (len(page["data"]), page["total"]) == (2, 3)


async def test_without_a_key_of_its_own_the_management_api_is_open(client: FlowiseClient) -> None:
    assert len(await client.chatflows.all()) == 3


# Memory


def test_the_oldest_messages_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembering, "MAX_MESSAGES", 4)
    kept = Chats()
    for number in range(6):
        kept.add(
            message("userMessage", "f", f"q{number}", message_id=str(number), chat_id=f"c{number}", session_id="s")
        )

    assert [each["content"] for each in kept.find("f")] == ["q2", "q3", "q4", "q5"]
    assert [each["content"] for each in kept.find("f", session_id="s")] == ["q2", "q3", "q4", "q5"]
    assert kept.find("f", chat_id="c0") == []
    assert kept.last_question("f", "s") == "q5"
    assert kept.delete("f", chat_id="c3") == 1
    assert kept.delete("f") == 3
    assert kept.last_question("f", "s") is None


def test_runs_and_feedback_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembering, "MAX_FEEDBACK", 2)
    monkeypatch.setattr(remembering, "MAX_EXECUTIONS", 2)
    kept = Chats()
    for number in range(3):
        kept.add_feedback({"chatflowid": "f", "content": str(number)})
        kept.remember_run("f", str(number), {"id": number})

    assert [each["content"] for each in kept.feedback_of("f")] == ["1", "2"]
    assert kept.last_run("f", "0") is None
    assert kept.last_run("f", "2") == {"id": 2}


def test_counts_are_bounded_but_keep_the_total(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MAX_QUESTIONS", 2)
    counts = Counts()
    for question in ("a", "b", "a", "c"):
        counts.add("f", {"question": question})

    assert counts.questions == {"a": 2, "c": 1}
    assert (counts.total, counts.repeated) == (4, 1)


async def test_a_client_that_leaves_before_its_stream_begins_is_no_fault(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    body = json.dumps({"question": "Why?", "streaming": True, "chatId": "left"})
    request = (
        f"POST /api/v1/prediction/{CREATIVE.id} HTTP/1.1\r\nHost: sandbox\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    )
    where = urlsplit(sandbox.url)
    for _ in range(20):
        client = socket.create_connection((where.hostname, where.port))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(request.encode())
        client.close()
    await asyncio.sleep(0.5)

    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
