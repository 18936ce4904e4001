"""One house with a bridge for all MCP tests of a session; each test finds its flows well-behaved."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from bridge_house import ALICE, BOB, TOKENS, BridgeHouse, Raw, client_of, kept_open
from mcp import Client


@pytest.fixture(scope="session")
def standing_bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgeHouse]:
    house = BridgeHouse(tmp_path_factory.mktemp("bridge"))
    try:
        worker = house.worker(wait=False)
        house.url = house.door(
            "--allow-changes", "--tools", "all", FLYWHEEL_MCP_TOKENS=TOKENS, FLYWHEEL_MCP_RATE="2000"
        )
        house.ready(worker)
        yield house
    finally:
        house.stop()


@pytest.fixture
def bridge_house(standing_bridge: BridgeHouse) -> BridgeHouse:
    standing_bridge.reset()
    standing_bridge.client.flushdb()
    return standing_bridge


@pytest.fixture
async def alice(bridge_house: BridgeHouse) -> AsyncIterator[Client]:
    async with kept_open(client_of(bridge_house.url, ALICE)) as client:
        yield client


@pytest.fixture
async def bob(bridge_house: BridgeHouse) -> AsyncIterator[Client]:
    async with kept_open(client_of(bridge_house.url, BOB)) as client:
        yield client


@pytest.fixture
async def raw(bridge_house: BridgeHouse) -> AsyncIterator[Raw]:
    async with Raw(bridge_house.url) as raw:
        yield raw
