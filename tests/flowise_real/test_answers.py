"""The right answer, from a real Flowise: late ones are taken, calls are cut in time, and what was ignored is said."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from agentic_flywheel.errors import FlowTimeout
from agentic_flywheel.settings import load_settings
from flowise_real.conftest import RealHouse
from flowise_real.flows import letters
from producer import AsyncProducer


def fresh(question: str) -> str:
    return f"{question} ({letters()})"


async def test_an_answer_that_came_after_its_time_out_is_taken(producer: AsyncProducer, house: RealHouse) -> None:
    question = fresh("Wait 3500 ms")

    answer = await producer.ask(question, flow="hurried", wait=60)

    took = json.loads(answer.text)
    assert took["to"] - took["from"] >= 3500 > 2000
    assert answer.attempts > 1
    # What still ran was aborted: no other attempt writes its chat.
    await asyncio.sleep(4)
    written = [each["chatId"] for each in house.flowise.messages(house.flows["slow"]) if each["content"] == question]
    assert written == [answer.chat_id]


async def test_a_call_is_cut_at_its_timeout(producer: AsyncProducer, house: RealHouse) -> None:
    began = time.monotonic()

    with pytest.raises(FlowTimeout, match="2 s"):
        await producer.ask(fresh("Wait 9000 ms"), flow="single", wait=30)

    assert time.monotonic() - began < 5


async def test_a_server_is_given_no_more_calls_at_once_than_its_limit(
    producer: AsyncProducer, house: RealHouse
) -> None:
    most = load_settings().flowise_concurrency

    answers = await asyncio.gather(*(producer.ask(fresh("Wait 700 ms"), flow="slow", wait=120) for _ in range(48)))

    spans = [json.loads(answer.text) for answer in answers]
    at_once = [sum(other["from"] <= each["from"] < other["to"] for other in spans) for each in spans]
    assert most / 2 <= max(at_once) <= most


async def test_settings_that_flowise_ignores_are_said_and_the_others_are_used(
    producer: AsyncProducer, house: RealHouse
) -> None:
    opened = await producer.ask(fresh("Where?"), flow="open", wait=30)
    closed = await producer.ask(fresh("Where?"), flow="closed", wait=30)

    assert json.loads(opened.text)["city"] == "Oslo"
    assert opened.config_used == {"vars": {"city": "Oslo"}}
    assert [each.partition(":")[0] for each in opened.warnings] == ["Flowise ignored vars.mood"]
    assert closed.config_used == {}
    assert [each.partition(":")[0] for each in closed.warnings] == ["Flowise ignored temperature"]


async def test_a_flow_that_fails_has_its_fallback_at_once(producer: AsyncProducer, house: RealHouse) -> None:
    question = fresh("Hello")

    answer = await producer.ask(question, flow="failing", wait=30)

    assert (answer.flow, json.loads(answer.text)["input"]) == ("mirror", question)
    assert len([each for each in house.flowise.messages(house.flows["failing"]) if each["content"] == question]) <= 1
