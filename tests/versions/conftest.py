"""The next version of the product, and a house without workers: each test starts those that it needs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pipeline.house import House

from producer import AsyncProducer
from versions.later import write_later


@pytest.fixture(scope="session")
def later(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_later(tmp_path_factory.mktemp("later"))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    try:
        house.behave(latency=0.05)
        yield house
    finally:
        house.stop()


@pytest.fixture
async def producer(house: House) -> AsyncIterator[AsyncProducer]:
    async with AsyncProducer(house.settings) as producer:
        yield producer
