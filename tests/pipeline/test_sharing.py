"""Whose an answer is: what is kept or under way for one person reaches another only where the flow's author says so."""

from __future__ import annotations

import asyncio
import json
import uuid

import pytest
from pydantic import JsonValue

from pipeline.house import FAILING, PROSE, TECHNICAL, House
from producer import AsyncProducer


def fresh(question: str) -> str:
    return f"{question} ({uuid.uuid4().hex[:8]})"


async def test_an_answer_for_one_person_is_not_served_to_another(producer: AsyncProducer, house: House) -> None:
    question = fresh("Send my weekly report about the python database")
    bob = producer.acting_for("bob")

    answers = [await each.ask(question, wait=20) for each in (producer, bob, producer, bob)]

    assert [answer.cached for answer in answers] == [False, False, True, True]
    assert house.calls(question) == 2


async def test_what_is_under_way_for_one_person_is_not_given_to_another(producer: AsyncProducer, house: House) -> None:
    house.behave(TECHNICAL, latency=0.4)
    question = fresh("Send my weekly report about the python database")
    everybody = [producer.acting_for(name) for name in ("ann", "bob") for _ in range(5)]

    answers = await asyncio.gather(*(each.ask(question, wait=20) for each in everybody))

    assert house.calls(question) == 2
    assert sum(answer.attached_to is None for answer in answers) == 2


async def test_a_flow_that_shares_answers_everybody_with_one_call(producer: AsyncProducer, house: House) -> None:
    question, everybody = fresh("What is an Essay?"), [producer.acting_for(name) for name in ("ann", "bob", "cleo")]

    together = await asyncio.gather(*(each.ask(question, flow="prose", wait=20) for each in everybody))
    later = await producer.ask(f" {question.upper()}", flow="prose", wait=20)

    assert house.calls(question) == 1
    assert sum(answer.attached_to is None and not answer.cached for answer in together) == 1
    assert later.cached


@pytest.mark.parametrize(("flow", "domain"), [("sparing", None), (None, "sparing"), (None, "narrow")])
async def test_each_question_to_a_flow_whose_answers_are_not_kept_is_a_call_of_its_own(
    producer: AsyncProducer, house: House, flow: str | None, domain: str | None
) -> None:
    house.behave(latency=0.4)
    question = fresh("Book a room for tomorrow")

    answers = await asyncio.gather(*(producer.ask(question, flow=flow, domain=domain, wait=30) for _ in range(4)))

    assert house.calls(question) == 4
    assert [answer.attached_to for answer in answers] == [None] * 4


@pytest.mark.parametrize(("flow", "domain"), [("shaky", None), (None, "shaky")])
async def test_what_a_fallback_answers_whose_answers_are_not_kept_is_for_one_question(
    producer: AsyncProducer, house: House, flow: str | None, domain: str | None
) -> None:
    house.behave(FAILING, latency=0.4, fault="error_500")
    question = fresh("Book a room for tomorrow")

    answers = await asyncio.gather(*(producer.ask(question, flow=flow, domain=domain, wait=30) for _ in range(4)))

    assert [(answer.flow, answer.attached_to, answer.cached) for answer in answers] == [("narrow", None, False)] * 4
    assert house.calls(question) == 4 + 1  # they had joined one call of the flow that failed, and share its failure


async def test_what_a_fallback_answers_for_a_flow_whose_answers_are_not_kept_is_not_kept(
    producer: AsyncProducer, house: House
) -> None:
    house.behave(FAILING, fault="error_500")
    question = fresh("Book a room for tomorrow")

    answers = [await producer.ask(question, flow=flow, wait=20) for flow in ("wary", "wary", "prose", "wary")]

    assert [(answer.flow, answer.cached) for answer in answers] == [("prose", False)] * 4


async def test_what_a_fallback_answers_for_one_person_is_not_given_to_another(
    producer: AsyncProducer, house: House
) -> None:
    house.behave(FAILING, latency=0.4, fault="error_500")
    question = fresh("What is an essay?")
    everybody = [producer.acting_for(name) for name in ("ann", "bob") for _ in range(3)]

    together = await asyncio.gather(*(each.ask(question, flow="public", wait=20) for each in everybody))
    later = await producer.ask(question, flow="public", wait=20)

    assert {answer.flow for answer in (*together, later)} == {"backup"}
    assert house.calls(question) == 1 + 2 + 1 + 1
    assert sum(answer.attached_to is None and not answer.cached for answer in together) == 2
    assert not later.cached


@pytest.mark.parametrize(("one", "other"), [("ls -l A", "ls -l a"), ("is it\n  so", "is it\nso")])
async def test_a_question_that_is_written_differently_is_asked_itself(
    producer: AsyncProducer, house: House, one: str, other: str
) -> None:
    mark = fresh("python")
    questions = [f"{mark} {text}" for text in (one, other)]

    await asyncio.gather(*(producer.ask(question, wait=20) for question in questions))

    assert [(await producer.ask(question, wait=20)).cached for question in questions] == [True, True]
    assert [house.calls(question) for question in questions] == [1, 1]


async def test_a_configuration_that_flowise_ignores_is_not_said_to_be_used(
    producer: AsyncProducer, house: House
) -> None:
    house.behave(PROSE, overrides=True)
    config: dict[str, JsonValue] = {"temperature": 0.9, "topK": 3, "vars": {"context": "a ship", "mood": "calm"}}

    question = fresh("Anything")

    ignored = await producer.ask(question, flow="backup", config=config, wait=20)
    honoured = await producer.ask(question, flow="prose", config=config, wait=20)
    none = await producer.ask(fresh("Anything"), flow="prose", wait=20)

    assert ignored.config_used == {}
    assert ignored.warnings == (
        "Flowise ignored temperature, topK, vars: overriding it is not enabled in the flow's configuration.",
    )
    assert honoured.config_used == {"temperature": 0.9, "vars": {"context": "a ship"}}
    (warning,) = honoured.warnings
    assert warning.startswith("Flowise ignored topK, vars.mood:")
    assert (none.config_used, none.warnings) == ({}, ())
    again = await producer.ask(question, flow="prose", config=config, wait=20)
    assert (again.cached, again.config_used, again.warnings) == (True, honoured.config_used, honoured.warnings)
    stored = json.loads(house.client.get(honoured.cache_key or "") or "")
    assert stored["_mcp_metadata"]["config_used"] == honoured.config_used
    call = await asyncio.to_thread(house.traced, honoured.query_id, "flow-execution")
    assert json.loads(call["metadata"]["config_used"]) == honoured.config_used
    assert json.loads(call["metadata"]["warnings"]) == [warning]


async def test_a_conversation_is_not_forgotten_after_its_first_turn_came_from_the_cache(
    producer: AsyncProducer, house: House
) -> None:
    session, opening = f"s-{uuid.uuid4().hex}", fresh("How do I name a python database?")
    await producer.ask(opening, wait=20)
    assert (await producer.ask(opening, session_id=session, wait=20)).cached
    follow_ups = [fresh(f"And a python table, number {number}?") for number in range(7)]
    for question in follow_ups:
        await producer.ask(question, session_id=session, wait=20)

    (last,) = house.sent(follow_ups[-1])

    asked = [message["content"] for message in last["history"] if message["role"] == "userMessage"]
    assert asked == [opening, *follow_ups[:-1]]


async def test_what_of_a_conversation_is_not_sent_is_said_in_the_trace(producer: AsyncProducer, house: House) -> None:
    session, questions = f"s-{uuid.uuid4().hex}", [fresh(f"And then {number}?") for number in range(4)]

    *_, last = [await producer.ask(each, flow="forgetful", session_id=session, wait=20) for each in questions]

    assert [each["content"] for each in house.sent(questions[-1])[0]["history"][::2]] == questions[1:3]
    context = await asyncio.to_thread(house.traced, last.query_id, "context")
    assert (context["metadata"]["turns"], context["metadata"]["turns_left_out"]) == ("2", "1")
