"""What Celery's remote control revokes, as Flower's buttons do, is cancelled: nothing stays open or runs again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from celery.exceptions import TaskRevokedError
from processes import wait_for

from agentic_flywheel.broker.control import pause, resume
from agentic_flywheel.errors import QueryCancelled
from agentic_flywheel.models import State
from pipeline.house import DOCUMENTS, TECHNICAL, House
from pipeline.plain import PlainClient, asked
from producer import AsyncProducer


@pytest.fixture
def client(house: House) -> PlainClient:
    return PlainClient(house)


async def until(producer: AsyncProducer, query_id: str, condition: Callable[[State], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition((await producer.status(query_id)).state):
            await asyncio.sleep(0.02)


def running(state: State) -> bool:
    return state == State.RUNNING


@pytest.mark.parametrize("terminate", [True, False])
async def test_a_query_that_runs_is_cut_and_whoever_waits_hears(
    producer: AsyncProducer, house: House, client: PlainClient, terminate: bool
) -> None:
    house.behave(TECHNICAL, latency=8.0)
    question = asked()
    sent = client.send(question)
    query_id = str(sent.id)
    wait_for(lambda: house.calls(question) == 1, what="its flow runs")
    replies = client.app.control.revoke(query_id, terminate=terminate, reply=True, timeout=5)

    assert [reply["ok"] for told in replies for reply in told.values()] == [f"tasks {query_id} cancelled"]
    with pytest.raises(QueryCancelled, match="its task was revoked"):
        await producer.wait(query_id, 30)
    with pytest.raises(Exception, match="its task was revoked"):
        await asyncio.to_thread(sent.get, timeout=30)
    assert house.calls(question) == 1


async def test_a_time_limit_of_celery_ends_no_query(producer: AsyncProducer, house: House, client: PlainClient) -> None:
    house.behave(TECHNICAL, latency=1.5)
    client.app.control.time_limit("flywheel.answer", soft=0.3, hard=0.5, reply=True, timeout=5)
    try:
        question = asked()
        assert (await producer.ask(question, wait=30)).text
    finally:
        client.app.control.time_limit("flywheel.answer", soft=None, hard=None, reply=True, timeout=5)
    assert house.calls(question) == 1


async def test_a_turn_that_is_revoked_lets_the_next_one_go_on(
    producer: AsyncProducer, house: House, client: PlainClient
) -> None:
    house.behave(TECHNICAL, latency=1.0)
    first, second = [await producer.submit(asked(), session_id="revoked") for _ in range(2)]
    await until(producer, first.query_id, running)
    client.app.control.terminate(first.query_id, signal="SIGKILL")

    assert (await producer.wait(second.query_id, 30)).text
    assert (await producer.status(first.query_id)).state == State.CANCELLED


async def test_those_who_asked_the_same_keep_their_answer(
    producer: AsyncProducer, house: House, client: PlainClient
) -> None:
    house.behave(TECHNICAL, latency=1.0)
    question = asked()
    leader = await producer.submit(question)
    await until(producer, leader.query_id, running)
    follower = await producer.submit(question)
    client.app.control.revoke(leader.query_id, terminate=True)

    assert (await producer.wait(follower.query_id, 30)).text
    assert house.calls(question) == 1


async def test_what_waits_for_its_flow_never_starts(producer: AsyncProducer, house: House, client: PlainClient) -> None:
    await pause(producer.batch, domain="technical")
    try:
        question = asked()
        submission = await producer.submit(question)
        await until(producer, submission.query_id, lambda state: state == State.WAITING)
        client.app.control.revoke(submission.query_id)
        await until(producer, submission.query_id, lambda state: state == State.CANCELLED)
    finally:
        await resume(producer.batch, domain="technical")

    assert house.calls(question) == 0


async def test_a_part_that_is_revoked_ends_its_query(
    producer: AsyncProducer, house: House, client: PlainClient
) -> None:
    house.behave(DOCUMENTS, latency=5.0)
    question = asked("Why is our python database slow, and what does the contract clause say about it?")
    submission = await producer.submit(question)
    await until(producer, submission.query_id, running)
    wait_for(lambda: len(house.sent(question)) == 2, what="both parts run")
    client.app.control.revoke(f"{submission.query_id}-document-qa", terminate=True)

    with pytest.raises(QueryCancelled, match="its task was revoked"):
        await producer.wait(submission.query_id, 30)


async def test_what_no_worker_has_seen_is_dropped_and_leaves_nothing_open(house: House, client: PlainClient) -> None:
    question = asked()
    with house.standing_still():
        sent = client.send(question)
        client.app.control.revoke(sent.id)
        wait_for(lambda: house.client.llen("classify") == 1, what="its message is there")

    with pytest.raises((TaskRevokedError, QueryCancelled)):
        await asyncio.to_thread(sent.get, timeout=30)
    wait_for(lambda: not house.client.llen("classify"), what="its message is gone")
    assert client.record(str(sent.id)).get("state", "cancelled") == "cancelled"
    assert house.calls(question) == 0


async def test_a_task_that_is_no_query_is_revoked_as_celery_does(client: PlainClient) -> None:
    (told,) = client.app.control.revoke("no-query-of-ours", reply=True, timeout=5)

    assert [reply["ok"] for reply in told.values()] == ["tasks {'no-query-of-ours'} flagged as revoked"]
