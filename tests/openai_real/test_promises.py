"""What is promised of OpenAI-compatible servers, on a real one."""

from __future__ import annotations

import json
import uuid

import pytest
from person.house import run_command
from pipeline.house import House

from agentic_flywheel.errors import FlowNotFound, FlowTimeout, FlowUnauthorized
from agentic_flywheel.models import EventKind
from producer import AsyncProducer


def fresh(question: str) -> str:
    return f"{question} ({uuid.uuid4().hex[:8]})"


async def test_an_answer_has_its_text_tokens_and_model(producer: AsyncProducer, house: House, model: str) -> None:
    for flow in ("streamed", "plain"):
        answer = await producer.ask(fresh("Which colour has the sky?"), flow=flow, wait=60)

        assert answer.text.strip()
        assert answer.usage is not None
        assert 0 < answer.usage.output_tokens < answer.usage.total_tokens
        assert answer.config_used["model"] == model
        assert (answer.first_token is not None) is (flow == "streamed")


async def test_an_answer_is_told_while_it_comes(producer: AsyncProducer, house: House) -> None:
    query_id = (await producer.submit(fresh("Count to five."), flow="streamed")).query_id
    tokens = [str(event.data["text"]) async for event in producer.stream(query_id) if event.kind is EventKind.TOKEN]

    answer = await producer.wait(query_id, timeout=60)
    assert "".join(tokens) == answer.text


async def test_a_conversation_is_sent_with_each_question(producer: AsyncProducer, house: House) -> None:
    session = uuid.uuid4().hex
    first = await producer.ask(fresh("My name is Ada Lovelace."), flow="plain", session_id=session, wait=60)
    second = await producer.ask(fresh("What is my name again?"), flow="plain", session_id=session, wait=60)

    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens


async def test_a_question_is_asked_once(producer: AsyncProducer, house: House) -> None:
    question = fresh("Which colour has grass?")

    answers = [await producer.ask(question, flow="plain", wait=60) for _ in range(2)]

    assert [answer.cached for answer in answers] == [False, True]
    assert answers[0].text == answers[1].text


async def test_a_call_that_is_cut_says_that_its_answer_is_lost(producer: AsyncProducer, house: House) -> None:
    with pytest.raises(FlowTimeout, match="its answer is lost"):
        await producer.ask(fresh("Is it?"), flow="hurried", wait=60)


async def test_a_model_and_a_key_that_are_not_there_are_named(producer: AsyncProducer, house: House) -> None:
    with pytest.raises(FlowNotFound, match="there-is-no-such-model"):
        await producer.ask(fresh("Is it?"), flow="missing", wait=60)
    with pytest.raises(FlowUnauthorized) as refused:
        await producer.ask(fresh("Is it?"), flow="locked", wait=60)

    assert "sk-nobody" not in refused.value.message


def test_flows_check_says_what_is_there_and_what_is_not(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    code, out, _ = json.loads(run_command(["flows", "check", "--json"], monkeypatch, capsys))

    reports = {each["flow"]: each for each in map(json.loads, out.splitlines()) if "flow" in each}
    assert code == 1
    assert reports["plain"]["problems"] == []
    (remark,) = reports["missing"]["remarks"]
    assert "there-is-no-such-model" in remark
    assert reports["locked"]["problems"] != []
