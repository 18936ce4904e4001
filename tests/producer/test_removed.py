"""Somebody waits for a query, and its record vanishes while the broker stays: the error says what happened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path

import pytest
from processes import Valkey

from agentic_flywheel.broker import wire
from agentic_flywheel.errors import QueryLost, QueryRemoved
from agentic_flywheel.settings import Settings
from producer import AsyncProducer
from producer.cli.exits import Exit
from producer.cli.failures import exit_of


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Valkey]:
    broker = Valkey(tmp_path / "broker").start()
    yield broker
    broker.stop()


@pytest.fixture
async def producer(broker: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AsyncProducer]:
    monkeypatch.setattr("producer.listener._PING_AFTER", 0.2)
    monkeypatch.setattr("producer.listener._LOOK_AFTER", 0.4)
    registry = tmp_path / "flow-registry.yaml"
    registry.write_text("operational_flows:\n  only:\n    id: 00000000-0000-4000-8000-000000000001\n")
    settings = Settings(redis_url=broker.url, home=tmp_path, registry=registry, langfuse_public_key=None)
    async with AsyncProducer(settings) as producer:
        yield producer


async def _asked(producer: AsyncProducer) -> object:
    return await producer.ask("Why?", wait=60)


async def _waited_for(producer: AsyncProducer) -> object:
    return await producer.wait((await producer.submit("Why?")).query_id, 60)


async def _streamed(producer: AsyncProducer) -> object:
    return [event async for event in producer.stream((await producer.submit("Why?")).query_id)]


@pytest.mark.parametrize("call", [_asked, _waited_for, _streamed])
async def test_whoever_waits_for_a_query_that_is_removed_is_told_so(
    broker: Valkey, producer: AsyncProducer, call: Callable[[AsyncProducer], Coroutine[object, object, object]]
) -> None:
    waiting = asyncio.create_task(call(producer))
    client = broker.client()
    for _ in range(500):
        if found := client.keys(wire.record_key("*")):
            break
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    client.delete(*found)  # nobody publishes anything
    client.close()

    with pytest.raises(QueryRemoved) as removed:
        await asyncio.wait_for(waiting, 10)
    assert wire.record_key(removed.value.query_id) in found
    assert "was removed from the broker while its answer was waited for" in removed.value.message
    assert exit_of(removed.value) is Exit.UNUSABLE


async def test_a_broker_that_comes_back_without_the_query_has_lost_it(broker: Valkey, producer: AsyncProducer) -> None:
    waiting = asyncio.create_task(_asked(producer))
    await asyncio.sleep(0.5)
    broker.kill()
    await asyncio.to_thread(broker.start)  # it keeps nothing on disk

    with pytest.raises(QueryLost):
        await asyncio.wait_for(waiting, 20)
