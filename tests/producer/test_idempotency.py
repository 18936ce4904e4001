"""A submission under a key is accepted once, whatever happens between its first attempt and its last."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from faults.proxy import Proxy
from pipeline.house import TECHNICAL, House

from agentic_flywheel.errors import BrokerUnavailable, FlywheelError, IdempotencyConflict, InvalidQuery, UnknownQuery
from agentic_flywheel.settings import Settings
from producer import AsyncProducer, Producer, Submission

COMMAND = str(Path(sys.executable).parent / "flywheel")
QUERY_ID = re.compile(r"[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}")


def through(proxy: Proxy, house: House) -> Settings:
    return house.settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{proxy.port}/0"})


def recorded(house: House) -> set[str]:
    return {str(key) for key in house.client.scan_iter("flywheel:query:*", count=10_000)}


async def test_the_same_question_under_the_same_key_is_one_query(house: House) -> None:
    question = "Which database index belongs to order one?"
    async with AsyncProducer(house.settings) as producer:
        first = await producer.submit(question, idempotency_key="order-1", cache="bypass")
        answer = await producer.wait(first.query_id, 20)
        again = await producer.submit(question, idempotency_key="order-1", cache="bypass")
        asked = await producer.ask(question, wait=20, idempotency_key="order-1", cache="bypass")

    assert QUERY_ID.fullmatch(first.query_id)
    assert first.answer is None
    assert again.query_id == asked.query_id == first.query_id
    assert again.answer is not None
    assert again.answer.text == asked.text == answer.text
    assert house.calls(question) == 1


async def test_two_programs_with_one_key_hear_of_the_same_answer(house: House) -> None:
    house.behave(TECHNICAL, latency=0.5)
    question = "Which database answers two programs?"
    async with AsyncProducer(house.settings) as one, AsyncProducer(house.settings, client="other") as other:
        answers = await asyncio.gather(
            *(
                each.ask(question, wait=20, idempotency_key="both", timeout=60 + n)
                for n, each in enumerate((one, other))
            )
        )
    calls = house.calls(question)
    house.reset()

    assert answers[0].query_id == answers[1].query_id
    assert calls == 1


@pytest.mark.parametrize("changed", [{"question": "Another?"}, {"flow": "backup"}, {"metadata": {"a": 1}}])
async def test_other_content_under_the_same_key_is_refused_and_nothing_is_accepted(
    house: House, changed: dict[str, Any]
) -> None:
    key = f"taken-{sorted(changed)}"
    async with AsyncProducer(house.settings) as producer:
        first = await producer.submit("Why?", idempotency_key=key)
        before = recorded(house)
        with pytest.raises(IdempotencyConflict) as caught:
            await producer.submit(**{"question": "Why?", "idempotency_key": key, **changed})

    assert caught.value.query_id == first.query_id
    assert key in str(caught.value)
    assert caught.value.retry_after == 0
    assert recorded(house) == before


async def test_a_key_is_its_owners_alone(house: House) -> None:
    async with AsyncProducer(house.settings) as producer:
        mine = await producer.submit("Mine?", idempotency_key="shared-name")
        theirs = await producer.acting_for("ada").submit("Hers?", idempotency_key="shared-name")

        assert mine.query_id != theirs.query_id
        with pytest.raises(UnknownQuery):
            await producer.status(theirs.query_id)


@pytest.mark.parametrize("key", ["", "x" * 201, "a b", "a\u200bb", "a\ud83d", 7])
async def test_a_key_is_bounded_and_visible(house: House, key: Any) -> None:
    async with AsyncProducer(house.settings) as producer:
        with pytest.raises(InvalidQuery) as caught:
            await producer.submit("Why?", idempotency_key=key)

    assert caught.value.field_name == "idempotency_key"


async def test_each_question_of_many_may_have_its_key(house: House) -> None:
    questions = ["Python or Go?", "Which docker image?", "Python or Go?"]
    async with AsyncProducer(house.settings) as producer:
        first = await producer.submit_many(questions, idempotency_keys=["m-0", None, "m-0"])
        again = await producer.submit_many(["Python or Go?", "Docker?"], idempotency_keys=["m-0", "m-0"])
        with pytest.raises(InvalidQuery):
            await producer.submit_many(questions, idempotency_keys=["m-0"])

    ids = [each.query_id for each in first if isinstance(each, Submission)]
    assert len(ids) == 3
    assert ids[0] == ids[2] != ids[1]
    assert isinstance(again[0], Submission)
    assert again[0].query_id == ids[0]
    assert isinstance(again[1], IdempotencyConflict)


async def test_what_broker_unavailable_left_open_a_key_settles(house: House, proxy: Proxy) -> None:
    async with AsyncProducer(through(proxy, house)) as producer:
        await producer.recent()  # connected
        before = recorded(house)
        proxy.lose_reply(b"Lost between?")
        with pytest.raises(BrokerUnavailable):
            await producer.submit("Lost between?", idempotency_key="lost-1")
        accepted = recorded(house) - before
        again = await producer.submit("Lost between?", idempotency_key="lost-1")

    assert len(accepted) == 1, "the broker had taken it"
    assert recorded(house) - before == accepted == {f"flywheel:query:{again.query_id}"}


async def test_a_lost_reply_is_not_seen_by_who_submits_many(house: House, proxy: Proxy) -> None:
    async with AsyncProducer(through(proxy, house)) as producer:
        await producer.recent()
        before = recorded(house)
        proxy.lose_reply(b"Many, number 7?")
        found = await producer.submit_many([f"Many, number {number}?" for number in range(50)])

    assert proxy.has_lost
    assert {f"flywheel:query:{each.query_id}" for each in found if isinstance(each, Submission)} == (
        recorded(house) - before
    )
    assert len(recorded(house) - before) == 50


def flywheel(house: House, *arguments: str, redis_url: str) -> subprocess.CompletedProcess[str]:
    env = {
        **os.environ,
        "REDIS_URL": redis_url,
        "FLYWHEEL_REGISTRY": str(house.registry),
        "FLYWHEEL_HOME": str(house.folder / "home"),
    }
    return subprocess.run([COMMAND, *arguments], env=env, capture_output=True, text=True, timeout=60, check=False)


def test_a_lost_reply_is_not_seen_on_the_command_line(house: House, proxy: Proxy) -> None:
    url, before = f"redis://127.0.0.1:{proxy.port}/0", recorded(house)
    arguments = ("submit", "Asked by hand?", "--idempotency-key", "by-hand", "--json")
    proxy.lose_reply(b"Asked by hand?")

    found = [json.loads(flywheel(house, *arguments, redis_url=url).stdout)["query_id"] for _ in range(2)]
    other = flywheel(house, "submit", "Another?", "--idempotency-key", "by-hand", redis_url=url)

    assert proxy.has_lost
    assert found[0] == found[1]
    assert recorded(house) - before == {f"flywheel:query:{found[0]}"}
    assert other.returncode == 2
    assert "was used for other content" in other.stderr


def test_a_command_does_not_wait_for_a_broker_that_is_not_there(house: House) -> None:
    began = time.monotonic()
    found = flywheel(house, "submit", "Anybody?", redis_url="redis://127.0.0.1:1/0")

    assert found.returncode == 3
    assert time.monotonic() - began < 15, "less than the patience of a submission"


@pytest.mark.provokes("Cannot connect to|Connection to broker lost|Trying to re-establish")
async def test_a_broker_that_has_been_away_for_long_keeps_nobody_waiting(house: House) -> None:
    async def waited(producer: AsyncProducer) -> float:
        began = time.monotonic()
        with pytest.raises(BrokerUnavailable, match="gave no answer"):
            await producer.submit("Anybody?")
        return time.monotonic() - began

    async with AsyncProducer(house.settings, patience=2.0) as producer:
        await producer.submit("Before")
        house.broker.kill()
        try:
            seconds = [await waited(producer) for _ in range(3)]
        finally:
            house.broker.start()
        await producer.submit("After")
        house.broker.kill()
        try:
            seconds.append(await waited(producer))
        finally:
            house.broker.start()

    assert seconds[0] > 1, "it may be a restart"
    assert seconds[2] < 0.5 < sum(seconds[:2])
    assert seconds[3] > 1, "this is another one"


def restart(house: House, *, after: float) -> threading.Thread:
    house.broker.kill()

    def start() -> None:
        time.sleep(after)
        house.broker.start()

    thread = threading.Thread(target=start)
    thread.start()
    return thread


@pytest.mark.provokes("Cannot connect to|Connection to broker lost|Trying to re-establish")
async def test_a_restart_of_the_broker_is_not_seen_and_nothing_is_accepted_twice(house: House) -> None:
    before = recorded(house)
    async with AsyncProducer(house.settings) as producer:
        found: list[Submission | FlywheelError] = []

        async def many() -> None:
            for number in range(20):
                found.extend(await producer.submit_many([f"Round {number}, {each}?" for each in range(20)]))

        submitting = asyncio.create_task(many())
        while len(found) < 100:
            await asyncio.sleep(0)
        back = await asyncio.to_thread(restart, house, after=1.0)
        await submitting
        await asyncio.to_thread(back.join)

    assert [each for each in found if isinstance(each, FlywheelError)] == []
    ids = {f"flywheel:query:{each.query_id}" for each in found if isinstance(each, Submission)}
    assert len(ids) == 400
    assert recorded(house) - before == ids


@pytest.mark.provokes("Cannot connect to|Connection to broker lost|Trying to re-establish")
def test_an_ask_outlives_a_restart_of_the_broker(house: House) -> None:
    house.behave(TECHNICAL, latency=3)
    question = "How does a database survive its restart in python?"
    env = {**os.environ, "REDIS_URL": house.broker.url, "FLYWHEEL_REGISTRY": str(house.registry)}
    env["FLYWHEEL_HOME"] = str(house.folder / "home")
    asking = subprocess.Popen(
        [COMMAND, "ask", question, "--wait", "60"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with Producer(house.settings) as producer:
        while not any(record.query.question == question and record.state == "running" for record in producer.recent()):
            time.sleep(0.1)
    restart(house, after=0.5).join()
    said, failed = asking.communicate(timeout=60)
    calls = house.calls(question)
    house.reset()

    assert asking.returncode == 0, failed
    assert "technical-analysis" in said
    assert calls == 1
