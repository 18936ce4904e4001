"""The same workers on Celery's own threads pool and transport: ``FLYWHEEL_ENGINE=stock``."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator

import pytest

from agentic_flywheel.models import State
from pipeline.house import TECHNICAL, House
from producer import AsyncProducer


@pytest.fixture(scope="module")
def stock_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("stock"), engine="stock")
    try:
        house.worker()
        yield house
    finally:
        house.stop()


def fresh(question: str) -> str:
    return f"{question} ({uuid.uuid4().hex[:8]})"


async def test_questions_are_answered_and_shared_and_put_together(stock_house: House) -> None:
    stock_house.behave(TECHNICAL, latency=0.3)
    async with AsyncProducer(stock_house.settings) as producer:
        question = fresh("How do I connect python to a database?")

        answers = await asyncio.gather(*(producer.ask(question, wait=40) for _ in range(20)))
        both = await producer.ask(
            fresh("Which python database index helps, and which clause of the contract covers liability?"), wait=40
        )

        assert stock_house.calls(question) == 1
        assert {answer.flow for answer in answers} == {"technical-analysis"}
        assert set(both.domains) == {"technical", "documents"}
        assert (await producer.ask(question, wait=40)).cached


async def test_a_worker_that_is_stopped_loses_nothing(stock_house: House) -> None:
    """SIGTERM only: stock kombu takes a message before it records it, so SIGKILL may lose one, its known limit."""
    stock_house.behave(TECHNICAL, latency=0.5)
    async with AsyncProducer(stock_house.settings) as producer:
        submitted = [await producer.submit(fresh("How do I use a python database?")) for _ in range(10)]

        async with asyncio.timeout(20):
            while stock_house.client.zcard("flywheel:running:technical-analysis") == 0:
                await asyncio.sleep(0.02)
        await asyncio.to_thread(stock_house.workers[0].terminate, within=60)
        await asyncio.to_thread(stock_house.worker)

        for each in submitted:
            await producer.wait(each.query_id, 60)
            assert (await producer.status(each.query_id)).state == State.SUCCEEDED
