"""Asking: the right flow, one call per question, conversations, parts put together, and what is refused."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from celery import Celery

from agentic_flywheel.broker.persistence import cache_statistics, check_cache, clear_cache
from agentic_flywheel.broker.records import dead_letters, remove_dead_letters
from agentic_flywheel.errors import (
    BrokerUnavailable,
    FlowFailed,
    FlowNotServed,
    InvalidQuery,
    UnknownDomain,
    UnknownFlow,
    UnknownQuery,
    UnknownSession,
    WaitTimeout,
)
from agentic_flywheel.models import State
from pipeline.house import BACKUP, BRIEF, DOCUMENTS, FRAGILE, TECHNICAL, House
from producer import AsyncProducer, Producer
from producer.cli import options


def fresh(question: str) -> str:
    return f"{question} ({uuid.uuid4().hex[:8]})"


async def test_a_question_reaches_the_flow_of_its_domain(producer: AsyncProducer) -> None:
    technical = await producer.ask(fresh("How do I connect a python service to the database?"), wait=20)
    creative = await producer.ask(fresh("Write a poem about a painting"), wait=20)

    assert (technical.flow, technical.domains) == ("technical-analysis", ("technical",))
    assert (creative.flow, creative.domains) == ("creative-orientation", ("creative",))
    assert technical.text
    assert not technical.cached
    assert technical.trace_id == technical.query_id


async def test_a_repeated_question_never_reaches_flowise_again(producer: AsyncProducer, house: House) -> None:
    question = fresh("Which database index does python need?")

    first = await producer.ask(question, wait=20)
    again = await producer.ask(f"  {question}\r\n", wait=20)

    assert again.cached
    assert again.text == first.text
    assert again.query_id != first.query_id
    assert house.calls(question) == 1
    (statistics,) = await cache_statistics(producer.batch, ["technical-analysis"])
    assert statistics.hits >= 1
    assert (statistics.hit_rate or 0) > 0


async def test_refresh_asks_again_and_bypass_leaves_no_trace_in_the_cache(
    producer: AsyncProducer, house: House
) -> None:
    question = fresh("How do I index a python list?")

    await producer.ask(question, wait=20, cache="bypass")
    await producer.ask(question, wait=20)
    refreshed = await producer.ask(question, wait=20, cache="refresh")

    assert not refreshed.cached
    assert house.calls(question) == 3


async def test_identical_questions_under_way_share_one_call(producer: AsyncProducer, house: House) -> None:
    house.behave(TECHNICAL, latency=0.4)
    question = fresh("What does the python database driver do?")

    answers = await asyncio.gather(*(producer.ask(question, wait=20) for _ in range(50)))

    assert house.calls(question) == 1
    assert len({answer.query_id for answer in answers}) == 50
    assert len({answer.text for answer in answers}) == 1
    attached = [answer for answer in answers if answer.attached_to]
    assert len(attached) == 49
    assert {await _state(producer, answer.query_id) for answer in answers} == {State.SUCCEEDED}


async def _state(producer: AsyncProducer, query_id: str) -> State:
    return (await producer.status(query_id)).state


async def test_an_answer_that_is_told_is_the_one_that_is_read_later_and_a_long_one_comes_too(
    producer: AsyncProducer, house: House
) -> None:
    house.behave(TECHNICAL, latency=0.2)
    shared, session = fresh("Which python driver is this?"), f"s-{uuid.uuid4().hex}"
    long = fresh("Why is the docker build slow? " + "long" * 2500)

    answers = await asyncio.gather(
        producer.ask(shared, wait=20),
        producer.ask(shared, wait=20),
        producer.ask(fresh("How do I use a python database?"), session_id=session, wait=20),
        producer.ask(long, wait=20),
    )

    assert [answer.attached_to for answer in answers] == [None, answers[0].query_id, None, None]
    assert answers[2].session_id == session
    assert len(answers[3].text) > 8192
    assert all(timedelta(seconds=0.2) <= answer.elapsed < timedelta(seconds=20) for answer in answers)
    assert [await producer.wait(answer.query_id) for answer in answers] == list(answers)


async def test_those_attached_see_the_tokens_from_the_first_one(producer: AsyncProducer, house: House) -> None:
    house.behave(TECHNICAL, latency=0.2, token_delay=0.02)
    question = fresh("How does a python database cursor stream?")
    first = await producer.submit(question)
    started = asyncio.Event()

    async def read(query_id: str) -> str:
        text = ""
        async for event in producer.stream(query_id):
            if event.kind == "token":
                text += str(event.data["text"])
                started.set()
        return text

    leader = asyncio.create_task(read(first.query_id))
    await asyncio.wait_for(started.wait(), 15)
    second = await producer.submit(question)
    texts = await asyncio.gather(leader, read(second.query_id))
    # Its events have ids of two streams: the command goes on behind each of them, as it printed them.
    followed = [event.id async for event in producer.stream(second.query_id)]
    assert "~" in followed[-1]
    assert [options.event_id(each) for each in followed] == followed

    answer = await producer.wait(second.query_id, 30)
    assert second.attached_to == first.query_id
    assert [text.strip() for text in texts] == [answer.text.strip()] * 2


@pytest.mark.parametrize(
    "after", ["x", "", "1-", "-1", "99999999999999999999999-1", "18446744073709551615-18446744073709551615", 5]
)
async def test_a_stream_from_what_is_no_event_is_refused(producer: AsyncProducer, after: Any) -> None:
    with pytest.raises(InvalidQuery, match="after: it should be the id of an event of this query"):
        await anext(producer.stream("any", after=after))


async def test_a_stream_resumes_where_it_was_cut_also_after_the_end(producer: AsyncProducer, house: House) -> None:
    house.behave(TECHNICAL, token_delay=0.02)
    submission = await producer.submit(fresh("Explain a python database transaction"))
    events = [event async for event in producer.stream(submission.query_id)]
    middle = events[len(events) // 2]

    resumed = [event async for event in producer.stream(submission.query_id, after=middle.id)]

    assert [event.id for event in resumed] == [event.id for event in events if event.id > middle.id]
    assert events[-1].kind == "final"
    kinds = [event.kind for event in events]
    assert kinds[:2] == ["routed", "started"]
    assert "token" in kinds


async def test_a_question_for_two_domains_is_asked_of_both_and_keeps_every_source(producer: AsyncProducer) -> None:
    question = fresh("Which python database index helps, and which clause of the contract covers liability?")

    answer = await producer.ask(question, wait=20)

    assert set(answer.domains) == {"technical", "documents"}
    assert [part.domain for part in answer.parts] == list(answer.domains)
    for part in answer.parts:
        assert part.text in answer.text
    by_domain = {part.domain: part for part in answer.parts}
    assert answer.sources == by_domain["documents"].sources != ()
    assert answer.usage == by_domain["technical"].usage is not None
    record = await producer.status(answer.query_id)
    assert record.route is not None
    assert record.route.decision == "fan_out"


async def test_a_part_that_fails_is_named_and_the_other_still_answers(producer: AsyncProducer, house: House) -> None:
    house.behave(TECHNICAL, fault="error_500")

    answer = await producer.ask(
        fresh("Which python database index helps, and which clause of the contract covers liability?"), wait=20
    )

    failed = [part for part in answer.parts if part.error]
    assert [part.domain for part in failed] == ["technical"]
    assert "No answer from this domain" in answer.text


async def test_a_failure_of_every_part_is_counted_once_on_each_flow(producer: AsyncProducer, house: House) -> None:
    flows = ["technical-analysis", "document-qa"]
    house.behave(TECHNICAL, fault="error_500")
    house.behave(DOCUMENTS, fault="error_500")
    before = [row.failures for row in await cache_statistics(producer.batch, flows)]
    question = fresh("Which python database index helps, and which clause of the contract covers liability?")

    with pytest.raises(FlowFailed):
        await producer.ask(question, wait=20)

    after = [row.failures for row in await cache_statistics(producer.batch, flows)]
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 1]
    (letter,) = [letter for letter in await dead_letters(producer.batch) if letter.query.question == question]
    assert (letter.flow, letter.attempts) == ("technical-analysis", 1)
    await remove_dead_letters(producer.batch, [letter.query_id])


async def test_a_follow_up_continues_its_session(producer: AsyncProducer) -> None:
    session = f"s-{uuid.uuid4().hex}"
    await producer.ask(fresh("How do I write a python database pool?"), session_id=session, wait=20)

    follow_up = await producer.ask("And how do I make that faster?", session_id=session, wait=20)

    assert follow_up.flow == "technical-analysis"
    turns = await producer.history(session)
    assert [turn.query_id for turn in turns][-1] == follow_up.query_id
    assert len(turns) == 2


async def test_turns_of_one_session_run_one_after_the_other_in_their_order(
    producer: AsyncProducer, house: House
) -> None:
    house.behave(TECHNICAL, latency=0.15)
    session = f"s-{uuid.uuid4().hex}"
    questions = [fresh(f"python database step {number}") for number in range(5)]

    submitted = [await producer.submit(question, session_id=session) for question in questions]
    await asyncio.gather(*(producer.wait(each.query_id, 30) for each in submitted))

    records = [await producer.status(each.query_id) for each in submitted]
    assert [turn.question for turn in await producer.history(session)] == questions
    for before, after in pairwise(records):
        assert before.finished is not None
        assert after.started is not None
        assert after.started >= before.finished


async def test_a_session_belongs_to_its_owner(producer: AsyncProducer, house: House) -> None:
    session = f"s-{uuid.uuid4().hex}"
    mine = await producer.ask(fresh("python database mine"), session_id=session, wait=20)

    async with AsyncProducer(house.settings, owner="somebody-else") as other:
        with pytest.raises(UnknownSession):
            await other.history(session)
        for read in (other.status, other.wait, other.cancel):
            with pytest.raises(UnknownQuery):
                await read(mine.query_id)


async def test_a_plain_celery_client_gets_the_answer_under_its_task_id(producer: AsyncProducer, house: House) -> None:
    app = Celery(broker=house.broker.url, backend=house.broker.url)
    query = {"question": fresh("How do I use a python database from celery?"), "session_id": f"s-{uuid.uuid4().hex}"}

    sent = app.send_task("flywheel.classify", [query], queue="classify")
    result = await asyncio.to_thread(sent.get, timeout=20)

    assert result["flow"] == "technical-analysis"
    assert (await producer.status(sent.id)).state == State.SUCCEEDED
    assert len(await producer.history(query["session_id"])) == 1


async def test_a_plain_celery_client_hears_of_a_failure_by_its_class(producer: AsyncProducer, house: House) -> None:
    house.behave(BACKUP, fault="error_500")
    app = Celery(broker=house.broker.url, backend=house.broker.url)

    sent = app.send_task("flywheel.classify", [{"question": fresh("x"), "flow": "backup"}], queue="classify")
    malformed = app.send_task("flywheel.classify", [{"question": ""}], queue="classify")
    unknown = app.send_task("flywheel.classify", [{"question": "x", "flow": "nowhere"}], queue="classify")

    for task, error in ((sent, FlowFailed), (malformed, InvalidQuery), (unknown, FlowNotServed)):
        with pytest.raises(error):
            await asyncio.to_thread(task.get, timeout=20)
        assert (await producer.status(task.id)).state == State.FAILED


async def test_what_is_not_acceptable_is_refused_at_once_and_leaves_nothing(
    producer: AsyncProducer, house: House
) -> None:
    before = set(house.client.scan_iter())

    for fields, error in (
        ({"question": ""}, InvalidQuery),
        ({"question": " \n "}, InvalidQuery),
        ({"question": "x" * 32_001}, InvalidQuery),
        ({"question": "x", "flow": "nowhere"}, UnknownFlow),
        ({"question": "x", "domain": "nowhere"}, UnknownDomain),
        ({"question": "x", "priority": "urgent"}, InvalidQuery),
        ({"question": "x", "unheard_of": 1}, InvalidQuery),
    ):
        with pytest.raises(error) as caught:
            await producer.submit(**fields)
        assert len(caught.value.describe().recovery_suggestions) >= 3

    # What others left may expire meanwhile.
    assert set(house.client.scan_iter()) <= before


async def test_without_a_broker_a_submission_fails_at_once(house: House) -> None:
    settings = house.settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    async with AsyncProducer(settings) as producer:
        with pytest.raises(BrokerUnavailable) as caught:
            await producer.submit("Is anybody there?")
    assert caught.value.retry_after == 30


async def test_a_wait_that_ends_early_leaves_the_query_under_way(producer: AsyncProducer, house: House) -> None:
    house.behave(TECHNICAL, latency=0.6)
    question = fresh("How slow is a python database?")

    with pytest.raises(WaitTimeout) as caught:
        await producer.ask(question, wait=0.2)

    assert (await producer.wait(caught.value.query_id, 20)).text


async def test_a_stale_answer_is_served_at_once_and_renewed_behind_it(producer: AsyncProducer, house: House) -> None:
    question = fresh("What is new?")
    await producer.ask(question, flow="brief", wait=20)
    await asyncio.sleep(0.4)
    house.behave(BRIEF, latency=0.5)

    stale = await producer.ask(question, flow="brief", wait=20)

    assert stale.stale
    async with asyncio.timeout(30):
        while house.calls(question) < 2 or (await producer.ask(question, flow="brief", wait=20)).stale:
            await asyncio.sleep(0.05)


async def test_a_value_put_into_the_cache_by_hand_is_honoured(producer: AsyncProducer, house: House) -> None:
    question = fresh("How do I tune a python database?")
    first = await producer.ask(question, wait=20)
    assert first.cache_key is not None
    house.client.set(first.cache_key, "Written by hand.")

    kept = await check_cache(producer.batch, first.cache_key)
    again = await producer.ask(question, wait=20)

    assert kept is not None
    assert (kept.text, kept.flow) == ("Written by hand.", "technical-analysis")
    assert again.text == "Written by hand."


async def test_a_cleared_cache_asks_again(producer: AsyncProducer, house: House) -> None:
    question = fresh("How do I back up a python database?")
    await producer.ask(question, wait=20)

    assert await clear_cache(producer.batch, "technical-analysis") >= 1

    assert not (await producer.ask(question, wait=20)).cached
    assert house.calls(question) == 2


async def test_a_failing_flow_falls_back_to_the_one_it_names(producer: AsyncProducer, house: House) -> None:
    house.behave(FRAGILE, fault="error_500")

    answer = await producer.ask(fresh("Anything"), flow="fragile", wait=20)

    assert (answer.flow, answer.domain) == ("backup", "backup")


def test_the_blocking_producer_does_the_same(house: House) -> None:
    with Producer(house.settings) as producer:
        question = fresh("How do I test a python database?")
        answer = producer.ask(question, wait=20)
        submission = producer.submit(fresh("Write a poem"), session_id="blocking")
        kinds = [event.kind for event in producer.stream(submission.query_id)]

        assert producer.wait(submission.query_id, 20).flow == "creative-orientation"
        assert kinds[-1] == "final"
        assert producer.status(answer.query_id).state == State.SUCCEEDED
        assert producer.ask(question, wait=20).cached
        assert submission.query_id in {record.query_id for record in producer.recent()}
        assert len(producer.history("blocking")) == 1
        assert producer.records([answer.query_id, "0" * 32])[1] is None
        mixed = producer.submit_many(["A python database?", ""])
        assert isinstance(mixed[1], InvalidQuery)
        assert "technical-analysis" in producer.catalog.active
