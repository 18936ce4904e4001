"""One house for all pipeline tests of a session; each test finds its flows well-behaved."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from pipeline.house import House, at_work
from producer import AsyncProducer


@pytest.fixture(scope="session")
def standing_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    # A plain client that names an unknown flow is not to be waited for.
    workers = {"FLYWHEEL_UNSERVED_TIMEOUT": "0.3s", "FLYWHEEL_UPLOADS_URL": f"file://{folder}/large"}
    # As the user of the docs: so every test here walks over its rules.
    with at_work(House(folder, workers=workers, few_rights=True)) as house:
        yield house


@pytest.fixture
def house(standing_house: House) -> House:
    standing_house.reset()
    return standing_house


@pytest.fixture
async def producer(house: House) -> AsyncIterator[AsyncProducer]:
    async with AsyncProducer(house.settings) as producer:
        yield producer
