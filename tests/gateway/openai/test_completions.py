"""Chat completions over plain HTTP: what is asked of the flow, what comes back, and in which order."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import httpx2
import pytest

from agentic_flywheel.asker import Asker
from gateway.house import ALICE, GatewayHouse, gateway_client
from gateway.openai.chat import (
    BROKEN,
    PATH,
    PLAIN,
    REGISTRY,
    body,
    chunks_in,
    query_of,
    question,
    streamed_text,
    text_in,
)
from http_gateway.app import build_app
from http_gateway.gateway import Gateway
from http_gateway.openai import answering
from producer import AsyncProducer


async def record_of(house: GatewayHouse, query_id: str, user: str | None = None) -> Any:
    async with AsyncProducer(house.settings, owner="alice", user=user) as producer:
        return await producer.status(query_id)


async def test_a_question_is_answered_by_the_flow_that_the_model_names(
    alice: httpx2.AsyncClient, openai_house: GatewayHouse
) -> None:
    asked = question()

    answered = await alice.post(PATH, json=body(asked))

    told = answered.json()
    assert text_in(answered)
    assert told["id"] == f"chatcmpl-{query_of(answered)}"
    assert (told["object"], told["model"], told["choices"][0]["finish_reason"]) == ("chat.completion", "plain", "stop")
    assert told["flywheel"] == {
        "query_id": query_of(answered),
        "flow": "plain",
        "domain": "plain",
        "cached": False,
        "confidence": 1.0,
        "explanation": told["flywheel"]["explanation"],
        "warnings": [],
    }
    assert openai_house.calls(asked) == 1


@pytest.mark.parametrize(
    ("model", "flow"), [("auto", "technical-analysis"), ("technical", "technical-analysis"), ("plain", "plain")]
)
async def test_a_model_is_auto_a_domain_or_a_flow(model: str, flow: str, alice: httpx2.AsyncClient) -> None:
    answered = await alice.post(PATH, json=body("Why is the docker build of my python database slow?", model))

    assert answered.json()["flywheel"]["flow"] == flow


async def test_an_unknown_model_is_refused_with_those_that_there_are(alice: httpx2.AsyncClient) -> None:
    refused = await alice.post(PATH, json=body("Hello", "gpt-4o"))

    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")
    assert "auto" in error["message"]
    assert "titles" not in error["message"]


async def test_history_context_user_and_session_reach_the_query(
    alice: httpx2.AsyncClient, openai_house: GatewayHouse
) -> None:
    asked = question()
    messages = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": asked},
    ]
    given = {"model": "plain", "messages": messages, "user": "ada"}

    answered = await alice.post(PATH, json=given, headers={"Flywheel-Session": "chat-7"})

    assert text_in(answered)
    query = (await record_of(openai_house, query_of(answered))).query
    assert (query.question, query.context, query.user, query.session_id) == (asked, "Be short.", "ada", "chat-7")
    (sent,) = openai_house.latest(1)
    assert [each["content"] for each in sent["history"]] == ["Hello", "Hi"]
    assert "Be short." in sent["question"]


async def test_open_webui_names_its_user_and_its_chat_in_headers(
    alice: httpx2.AsyncClient, openai_house: GatewayHouse
) -> None:
    headers = {"X-OpenWebUI-User-Id": "ada", "X-OpenWebUI-Chat-Id": "chat-8"}

    answered = await alice.post(PATH, json=body(question()), headers=headers)

    query = (await record_of(openai_house, query_of(answered))).query
    assert (query.asker, query.session_id) == (Asker("alice", "ada"), "chat-8")


async def test_a_first_message_that_was_edited_is_asked_without_the_turns_of_its_session(
    alice: httpx2.AsyncClient, openai_house: GatewayHouse
) -> None:
    headers = {"X-OpenWebUI-Chat-Id": "chat-9"}
    first = await alice.post(PATH, json=body(question()), headers=headers)

    edited = await alice.post(PATH, json=body(question()), headers=headers)

    assert (await record_of(openai_house, query_of(first))).query.session_id == "chat-9"
    assert (await record_of(openai_house, query_of(edited))).query.session_id is None
    assert "history" not in openai_house.latest(1)[0]


async def test_an_image_goes_with_the_question(alice: httpx2.AsyncClient, openai_house: GatewayHouse) -> None:
    picture = base64.b64encode(b"\x89PNG kitten").decode()
    content = [
        {"type": "text", "text": question()},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
    ]

    answered = await alice.post(PATH, json={"model": "seeing", "messages": [{"role": "user", "content": content}]})

    assert text_in(answered)
    (sent,) = openai_house.latest(1)
    assert [each["name"] for each in sent["uploads"]] == ["image-1.png"]


async def test_a_stream_has_a_role_the_text_the_end_and_its_mark(
    alice: httpx2.AsyncClient, openai_house: GatewayHouse
) -> None:
    openai_house.behave(PLAIN, token_delay=0.03)

    chunks = chunks_in(await alice.post(PATH, json=body(question(), stream=True)))

    deltas = [each["choices"][0] for each in chunks]
    assert deltas[0]["delta"] == {"role": "assistant", "content": ""}
    assert len([each for each in deltas if each["delta"].get("content")]) > 3
    assert (deltas[-1]["delta"], deltas[-1]["finish_reason"]) == ({}, "stop")
    assert {each["finish_reason"] for each in deltas[:-1]} == {None}
    assert chunks[-1]["flywheel"]["flow"] == "plain"


async def test_a_stream_says_the_same_as_a_whole_completion_also_from_the_cache(alice: httpx2.AsyncClient) -> None:
    given = body("Why is the docker build slow?", "technical-analysis")

    fresh = chunks_in(await alice.post(PATH, json={**given, "stream": True}))
    kept = chunks_in(await alice.post(PATH, json={**given, "stream": True}))
    whole = await alice.post(PATH, json=given)

    assert streamed_text(fresh) == streamed_text(kept) == text_in(whole)
    assert [each[-1]["flywheel"]["cached"] for each in (fresh, kept)] == [False, True]


async def test_the_usage_of_a_flow_that_tells_it_is_passed_on(alice: httpx2.AsyncClient) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}}

    chunks = chunks_in(await alice.post(PATH, json=body(question(), "technical-analysis", **options)))

    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == chunks[-2]["usage"]
    assert chunks[-1]["usage"]["total_tokens"] > 0


async def test_a_flow_that_fails_amid_its_answer_is_told_once_and_whole(
    alice: httpx2.AsyncClient, openai_house: GatewayHouse
) -> None:
    openai_house.behave(PLAIN, fault="drop", fault_first=1, token_delay=0.001)
    asked = question()

    chunks = chunks_in(await alice.post(PATH, json=body(asked, stream=True)))

    openai_house.behave(PLAIN)
    assert openai_house.calls(asked) == 2
    assert streamed_text(chunks) == text_in(await alice.post(PATH, json=body(asked)))


async def test_a_failed_flow_is_an_error_before_and_within_a_stream(
    alice: httpx2.AsyncClient, openai_house: GatewayHouse
) -> None:
    openai_house.behave(BROKEN, fault="error_500")

    plain = await alice.post(PATH, json=body(question(), "broken"))
    streamed = await alice.post(PATH, json=body(question(), "broken", stream=True))

    error = plain.json()["error"]
    assert (plain.status_code, error["type"], error["code"]) == (502, "server_error", "flow_failed")
    assert plain.headers["x-should-retry"] == "false"
    assert error["query_id"] == query_of(plain)
    *_, last = chunks_in(streamed)
    assert last["error"]["code"] == "flow_failed"
    assert last["error"]["query_id"] == query_of(streamed)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_flow_that_asks_a_person_says_what_to_do(
    stream: bool, alice: httpx2.AsyncClient, openai_house: GatewayHouse
) -> None:
    answered = await alice.post(PATH, json=body(question(), "asking", stream=stream))

    query_id = query_of(answered)
    if stream:
        chunks = chunks_in(answered)
        text, finish = streamed_text(chunks), chunks[-1]["choices"][0]["finish_reason"]
    else:
        text, finish = text_in(answered), answered.json()["choices"][0]["finish_reason"]
    asked = (await record_of(openai_house, query_id)).stops[0].text.strip()
    assert finish == "stop"
    assert text.count(asked) == 1
    assert f'POST /v1/queries/{query_id}/resume with {{"decision": "proceed", "stop": 1}}' in text
    assert "flywheel" not in text


async def test_a_question_that_fits_nowhere_is_answered_with_the_models_to_choose(alice: httpx2.AsyncClient) -> None:
    answered = await alice.post(PATH, json=body("the weather tomorrow in Paris", "auto"))

    assert "Ask again with one of these as the model:" in text_in(answered)
    assert "`creative-orientation`" in text_in(answered)


async def test_side_calls_go_to_their_flow_and_outside_the_session(
    alice: httpx2.AsyncClient, openai_house: GatewayHouse
) -> None:
    task = f"### Task:\nGenerate a concise, 3-5 word title.\n<chat_history>{question()}</chat_history>"

    answered = await alice.post(PATH, json=body(task, "plain"), headers={"X-OpenWebUI-Chat-Id": "chat-10"})

    assert answered.json()["flywheel"]["flow"] == "titles"
    assert (await record_of(openai_house, query_of(answered))).query.session_id is None


async def test_side_calls_are_refused_where_the_registry_names_no_flow_for_them(
    openai_house: GatewayHouse, tmp_path: Path
) -> None:
    registry = tmp_path / "flow-registry.yaml"
    registry.write_text(REGISTRY.replace("  side_calls: titles\n", ""))
    gateway = Gateway(openai_house.settings.model_copy(update={"registry": registry}))
    transport = httpx2.ASGITransport(build_app(gateway).state.entrance)

    async with gateway.open(), httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        refused = await client.post(PATH, json=body("### Task:\nSuggest 3 relevant follow-up questions.", "auto"))

    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (400, "side_call_refused")
    assert "`side_calls` in `intent_classification`" in error["recovery_suggestions"][0]


async def test_models_are_auto_domains_and_flows_that_take_questions(alice: httpx2.AsyncClient) -> None:
    listed = (await alice.get("/v1/models")).json()

    ids = [each["id"] for each in listed["data"]]
    assert listed["object"] == "list"
    assert ids[0] == "auto"
    assert {"technical", "creative", "technical-analysis", "plain"} <= set(ids)
    assert "titles" not in ids
    assert len(ids) == len(set(ids))
    assert (await alice.get("/v1/models/plain")).json() == next(
        each for each in listed["data"] if each["id"] == "plain"
    )
    unknown = await alice.get("/v1/models/gpt-4o")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [("/v1/embeddings", 404, "embeddings_not_offered"), ("/v1/completions", 404, "nothing_there")],
)
async def test_what_is_not_offered_is_said_in_a_sentence(
    path: str, status: int, code: str, alice: httpx2.AsyncClient
) -> None:
    refused = await alice.post(path, json={"model": "auto", "input": "x"})

    error = refused.json()["error"]
    assert (refused.status_code, error["type"], error["code"]) == (status, "invalid_request_error", code)
    assert error["message"]


async def test_a_wrong_key_is_refused_as_openai_refuses_it(openai_house: GatewayHouse) -> None:
    async with gateway_client(openai_house.url, "not-a-key") as stranger:
        refused = await stranger.post(PATH, json=body("Hello"))

    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")


async def test_a_client_that_goes_away_does_not_stop_the_query(openai_house: GatewayHouse) -> None:
    openai_house.behave(PLAIN, latency=0.5)
    asked = question()
    async with gateway_client(openai_house.url, ALICE) as client:
        async with client.stream("POST", PATH, json=body(asked, stream=True)) as stream:
            query_id = stream.headers["x-request-id"]
            assert await anext(stream.aiter_lines()) == ": queued"
        with pytest.raises(httpx2.ReadTimeout):
            await client.post(PATH, json=body(question()), timeout=0.2)

    async with AsyncProducer(openai_house.settings, owner="alice") as producer:
        assert (await producer.wait(query_id, 30)).text
        while not all(each.state.terminal for each in await producer.recent()):
            await asyncio.sleep(0.05)
        assert {each.state for each in await producer.recent()} == {"succeeded"}


async def test_comments_keep_a_stream_alive_that_waits(
    openai_house: GatewayHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 10 <= answering.KEEP_ALIVE <= 15
    monkeypatch.setattr(answering, "KEEP_ALIVE", 0.2)
    openai_house.behave(PLAIN, latency=1.0)
    gateway = Gateway(openai_house.settings)
    transport = httpx2.ASGITransport(build_app(gateway).state.entrance)

    async with gateway.open(), httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answered = await client.post(PATH, json=body(question(), stream=True), timeout=30)

    assert answered.text.count("\n: ") >= 2
    assert streamed_text(chunks_in(answered))
