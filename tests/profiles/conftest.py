"""One house for all tests of profiles and sessions; each test finds its flows well-behaved."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from producer import AsyncProducer
from profiles.house import ProfileHouse


@pytest.fixture(scope="session")
def standing_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProfileHouse]:
    house = ProfileHouse(tmp_path_factory.mktemp("house"))
    try:
        house.worker(events=True)
        yield house
    finally:
        house.stop()


@pytest.fixture
def house(standing_house: ProfileHouse) -> ProfileHouse:
    standing_house.reset()
    return standing_house


@pytest.fixture
async def alice(house: ProfileHouse) -> AsyncIterator[AsyncProducer]:
    async with AsyncProducer(house.settings, owner="alice") as producer:
        yield producer


@pytest.fixture
async def bob(alice: AsyncProducer) -> AsyncProducer:
    return alice.acting_for("bob")
