"""One house for the replay tests of a session: broker, sandbox, worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pipeline.house import House


@pytest.fixture(scope="session")
def standing_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("house"), aof=True)
    try:
        house.worker()
        yield house
    finally:
        house.stop()


@pytest.fixture
def house(standing_house: House) -> House:
    standing_house.reset()
    return standing_house
