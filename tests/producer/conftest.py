"""A house with one worker for these tests, and ways to its broker that can fail."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from faults.proxy import Proxy
from pipeline.house import House, at_work


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    # On disk: its broker is killed and comes back.
    with at_work(House(tmp_path_factory.mktemp("house"), aof=True)) as house:
        yield house


@pytest.fixture
def proxy(house: House) -> Iterator[Proxy]:
    proxy = Proxy(house.broker.port)
    yield proxy
    proxy.close()
