"""A broker whose file lost its end, as after a power loss: what is left is neither lost nor answered twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from celery import Celery
from closing import BROKER_AWAY
from pipeline.house import TECHNICAL, House
from processes import wait_for
from rolled_back import continued_in, cut, length_before, length_of, roll_back

from agentic_flywheel.errors import QueryLost
from losses.asking import all_end_once, asked_without_pause
from losses.test_losses import state
from producer import AsyncProducer

#: How often one test rolls the file back.
CUTS = 2


@pytest.mark.timeout(300)
@pytest.mark.provokes(BROKER_AWAY)
@pytest.mark.parametrize("seed", range(4))
async def test_what_a_file_without_its_end_holds_ends_once(house: House, patience: float, seed: int) -> None:
    draw = random.Random(seed)
    if sum(worker.alive for worker in house.workers) < 2:
        await asyncio.to_thread(house.worker)
    house.behave(latency=0.2)
    house.behave(TECHNICAL, latency=1)
    all_kept = []
    async with asked_without_pause(house, draw):
        for _ in range(CUTS):
            await asyncio.sleep(draw.uniform(1, 2))
            all_kept.append(await asyncio.to_thread(roll_back, house.broker, draw))
            await asyncio.sleep(2)
    kept = all_kept[-1]  # what an earlier file held, this one may have lost again

    await all_end_once(house, kept, patience)


@pytest.mark.provokes(BROKER_AWAY)
def test_an_acknowledgement_of_an_earlier_run_does_not_take_a_plain_clients_message(
    house: House, patience: float
) -> None:
    """The worker has recorded the query and owes the acknowledgement; the file has lost the record with its end."""
    for worker in house.workers[:-1]:
        worker.kill()
    if not house.workers[-1].alive:
        house.worker()
    pid = house.workers[-1].pid
    with Celery(broker=house.broker.url, set_as_current=False) as client:
        for _ in range(50):
            task_id = uuid.uuid4().hex
            client.send_task("flywheel.classify", ["Why python?"], queue="classify", task_id=task_id, countdown=1)
            wait_for(lambda: house.client.exists(f"flywheel:query:{task_id}"), every=0.0005)  # noqa: B023
            os.kill(pid, signal.SIGSTOP)
            if any(task_id in message for message in house.client.hvals("flywheel:unacked")):
                break
            os.kill(pid, signal.SIGCONT)
        else:
            raise AssertionError("the worker was never stopped before it had acknowledged")
    house.broker.kill()
    cut(house.broker, length_before(house.broker, f"flywheel:query:{task_id}"))
    house.broker.start()
    os.kill(pid, signal.SIGCONT)

    wait_for(lambda: state(house, task_id) == "succeeded", within=patience, what="it is answered")


def test_what_follows_a_query_is_not_sent_before_its_end(house: House, patience: float) -> None:
    """A worker has the message that carries on after an end which the file has lost."""
    house.behave(TECHNICAL, latency=3)
    queue = f"collected-{uuid.uuid4().hex[:6]}"
    with Celery(broker=house.broker.url, set_as_current=False) as client:
        then = client.signature("somebody.collect", queue=queue)
        task_id = client.send_task("flywheel.classify", [f"Why python, {queue}?"], queue="classify", link=then).id
    key = f"flywheel:query:{task_id}"
    place = str(wait_for(lambda: house.client.hget(key, "continuation"), what="it is recorded"))
    _, carries_on, message = place.split("\n", 2)
    house.client.lpush(carries_on, message)

    wait_for(lambda: house.client.llen(queue), within=patience, what="what follows is sent")
    assert state(house, task_id) == "succeeded"
    assert continued_in(house.client, queue) == {task_id}


async def _asked(producer: AsyncProducer) -> object:
    return await producer.ask("How do I connect python to a lost database?", cache="bypass", wait=60)


async def _waited_for(producer: AsyncProducer) -> object:
    return await producer.wait((await producer.submit("How do I wait for python?", cache="bypass")).query_id, 60)


async def _streamed(producer: AsyncProducer) -> object:
    query_id = (await producer.submit("How do I stream python?", cache="bypass")).query_id
    return [event async for event in producer.stream(query_id)]


@pytest.mark.provokes(BROKER_AWAY)
@pytest.mark.parametrize("call", [_asked, _waited_for, _streamed])
async def test_whoever_waits_for_a_query_that_the_file_has_lost_is_told_so(
    house: House, producer: AsyncProducer, call: Callable[[AsyncProducer], Coroutine[Any, Any, object]]
) -> None:
    with house.standing_still():
        length, open_before = length_of(house.broker), house.client.zcard("flywheel:open")
        waiting = asyncio.create_task(call(producer))
        await asyncio.to_thread(wait_for, lambda: house.client.zcard("flywheel:open") > open_before, what="accepted")
        await asyncio.sleep(0.5)
        house.broker.kill()
        cut(house.broker, length)
        await asyncio.to_thread(house.broker.start)

        with pytest.raises(QueryLost):
            await asyncio.wait_for(waiting, 30)
