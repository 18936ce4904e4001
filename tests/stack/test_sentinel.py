"""A broker that Sentinels name: every process reaches it, and a failover loses no more than replication had not copied.

Replication is asynchronous: what the primary has accepted and its replica not yet received is gone with the primary.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from closing import BROKER_AWAY
from pipeline.house import House
from processes import wait_for
from redis.sentinel import MasterNotFoundError
from sentinels import Replicated
from stack.test_brokers import everybody_reaches

from agentic_flywheel.broker.audit import audit
from agentic_flywheel.broker.batch import Batch, connect
from agentic_flywheel.errors import BrokerUnavailable, QueryLost, UnknownQuery
from producer import AsyncProducer
from workers.engine.sentinels import Sentinels

#: Seconds between two submissions: one caller asks without a pause.
PACE = 0.01
#: Seconds before the kill from which on a write may be missing in the replica, here where nothing slows replication.
LAG = 1.0


class Fate(NamedTuple):
    """What became of a query that was accepted."""

    query_id: str
    #: When it was accepted, on the monotonic clock.
    accepted: float
    lost: bool


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path, aof=True)
    yield house
    house.stop()


@pytest.fixture
def replicated(house: House, tmp_path: Path) -> Iterator[Replicated]:
    replicated = Replicated(tmp_path, house.broker)
    yield replicated
    for worker in house.workers:
        if worker.alive:
            worker.terminate(within=30)
    replicated.stop()


async def asked(producer: AsyncProducer, question: str) -> Fate:
    """Ask, and wait for the answer or the word that the broker has lost the query."""
    submission = await producer.submit(question, cache="bypass")
    accepted = time.monotonic()
    while True:
        try:
            await producer.wait(submission.query_id, 90)
        except BrokerUnavailable:  # whoever begins to wait while nobody is the primary is told at once
            await asyncio.sleep(0.2)
        except (QueryLost, UnknownQuery):
            return Fate(submission.query_id, accepted, lost=True)
        else:
            return Fate(submission.query_id, accepted, lost=False)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("prefix", ["", "blue:"])
async def test_every_process_reaches_the_primary_that_sentinels_name(
    house: House, replicated: Replicated, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    await everybody_reaches(house, replicated.url, monkeypatch, prefix=prefix)


@pytest.mark.timeout(300)
@pytest.mark.provokes(BROKER_AWAY)
async def test_a_failover_under_load_loses_at_most_what_replication_had_not_copied(
    house: House, replicated: Replicated
) -> None:
    house.behave(latency=0.3)
    settings = house.settings.model_copy(update={"redis_url": replicated.url})
    for _ in range(2):
        await asyncio.to_thread(house.worker, redis_url=replicated.url)
    async with AsyncProducer(settings, patience=60) as producer:
        asking: list[asyncio.Task[Fate]] = []

        async def ask_for(seconds: float) -> None:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                asking.append(asyncio.create_task(asked(producer, f"Why does python need database {len(asking)}?")))
                await asyncio.sleep(PACE)

        await ask_for(3)
        killed = time.monotonic()
        house.broker.kill()
        replicated.sentinels[0].kill()
        await ask_for(1)
        await asyncio.to_thread(replicated.promoted)
        took = time.monotonic() - killed
        await asyncio.to_thread(replicated.bring_back)
        await ask_for(2)
        fates = await asyncio.gather(*asking)
    found = await audit(settings)

    lost = [fate for fate in fates if fate.lost]
    print(f"\n{len(fates)} accepted, {len(lost)} lost by a failover that took {took:.1f} s")
    assert all(killed - LAG < fate.accepted <= killed + LAG for fate in lost)
    assert not found.offenders
    assert found.open == 0


@pytest.mark.timeout(300)
@pytest.mark.provokes(BROKER_AWAY)
async def test_what_the_replica_never_received_is_said_to_be_lost_and_the_rest_is_answered(
    house: House, replicated: Replicated
) -> None:
    settings = house.settings.model_copy(update={"redis_url": replicated.url})
    async with AsyncProducer(settings, patience=60) as producer:
        copied = [asyncio.create_task(asked(producer, f"Why does python need index {n}?")) for n in range(10)]
        await asyncio.to_thread(wait_for, lambda: replicated.client(replicated.second).zcard("flywheel:open") == 10)
        replicated.cut_off_replica()
        uncopied = [asyncio.create_task(asked(producer, f"Why does docker need index {n}?")) for n in range(10)]
        await asyncio.to_thread(wait_for, lambda: replicated.client(replicated.first).zcard("flywheel:open") == 20)
        house.broker.kill()
        await asyncio.to_thread(replicated.promoted)
        await asyncio.to_thread(house.worker, redis_url=replicated.url)

        assert [fate.lost for fate in await asyncio.gather(*copied)] == [False] * 10
        assert [fate.lost for fate in await asyncio.gather(*uncopied)] == [True] * 10


@pytest.mark.timeout(120)
async def test_a_primary_that_must_have_a_replica_accepts_nothing_without_it(
    house: House, replicated: Replicated
) -> None:
    primary = replicated.client(replicated.first)
    primary.config_set("min-replicas-to-write", "1")
    settings = house.settings.model_copy(update={"redis_url": replicated.url})
    async with AsyncProducer(settings) as producer:
        accepted = await producer.submit("Why does python need a replica?")
        replicated.cut_off_replica()
        with pytest.raises(BrokerUnavailable, match="too few replicas"):
            await producer.submit("Why does docker need a replica?")
        primary.config_set("min-replicas-to-write", "0")
        with suppress(BrokerUnavailable):
            await producer.cancel(accepted.query_id)


async def test_sentinels_that_are_away_are_one_short_sentence() -> None:
    nowhere, sentence = "sentinel://127.0.0.1:1/0?service=main", "no Sentinel names a primary 'main'"
    client = connect(nowhere)
    with pytest.raises(BrokerUnavailable, match=f"{sentence}$"):
        await Batch(client).call("PING")
    await client.aclose()

    with pytest.raises(MasterNotFoundError) as told:
        Sentinels([("127.0.0.1", 1)]).discover_master("main")  # type: ignore[no-untyped-call]
    assert str(told.value) == sentence
