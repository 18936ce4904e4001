"""One house for the tests of limits; its worker lets a plain client's owner ask three times a minute."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from pipeline.house import House, at_work

from producer import AsyncProducer


@pytest.fixture(scope="session")
def standing_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with at_work(House(tmp_path_factory.mktemp("house"), workers={"FLYWHEEL_OWNER_QUERIES_A_MINUTE": "3"})) as house:
        yield house


@pytest.fixture
def house(standing_house: House) -> House:
    standing_house.reset()
    return standing_house


@pytest.fixture
async def alice(house: House) -> AsyncIterator[AsyncProducer]:
    async with AsyncProducer(house.settings, owner="alice") as producer:
        yield producer
