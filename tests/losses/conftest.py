"""A house to break: each test finds one worker alive, well-behaved flows, and an empty broker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from pipeline.house import House

from producer import AsyncProducer

#: Seconds within which every accepted query has ended: workers look for the first time after 15 s.
PATIENCE = 60.0


@pytest.fixture(scope="module")
def standing_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    # Less than the patience of a test.
    house = House(tmp_path_factory.mktemp("losses"), aof=True, workers={"FLYWHEEL_UNSERVED_TIMEOUT": "20s"})
    try:
        yield house
    finally:
        house.stop()


@pytest.fixture
def house(standing_house: House) -> Iterator[House]:
    house = standing_house
    house.reset()
    if not any(worker.alive for worker in house.workers):
        house.worker()
    yield house
    house.reset()


@pytest.fixture
def patience() -> float:
    """Seconds to wait for an end that should come."""
    return PATIENCE


@pytest.fixture
async def producer(house: House) -> AsyncIterator[AsyncProducer]:
    async with AsyncProducer(house.settings) as producer:
        yield producer
