"""One house with a bridge for two owners, in which one person has something of every kind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from bridge_house import BridgeHouse

from person.house import OWNERS, Bridge, Things, possess


@pytest.fixture(scope="session")
def person_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgeHouse]:
    house = BridgeHouse(tmp_path_factory.mktemp("person"))
    try:
        worker = house.worker(wait=False)
        tokens = ",".join(f"{owner}={token}" for owner, token in OWNERS.items())
        house.url = house.door(
            "--allow-changes", "--tools", "all", FLYWHEEL_MCP_TOKENS=tokens, FLYWHEEL_MCP_RATE="2000"
        )
        house.ready(worker)
        yield house
    finally:
        house.stop()


@pytest.fixture
def house(person_house: BridgeHouse) -> BridgeHouse:
    person_house.reset()
    return person_house


@pytest.fixture
def bridge(house: BridgeHouse) -> Bridge:
    return Bridge(house)


@pytest.fixture
async def things(house: BridgeHouse) -> Things:
    return await possess(house)
