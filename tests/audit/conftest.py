"""One house for the audit's tests: each finds its flows well-behaved, its worker alive and nothing under way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from pipeline.house import House, at_work

from producer import AsyncProducer


@pytest.fixture(scope="session")
def standing_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with at_work(House(tmp_path_factory.mktemp("audited"))) as house:
        yield house


@pytest.fixture
def house(standing_house: House) -> Iterator[House]:
    standing_house.reset()
    yield standing_house
    standing_house.client.delete("flywheel:paused")
    standing_house.reset()


@pytest.fixture
async def producer(house: House) -> AsyncIterator[AsyncProducer]:
    async with AsyncProducer(house.settings) as producer:
        yield producer
