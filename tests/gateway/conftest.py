"""One house with a gateway for all tests of this folder; each test finds its flows well-behaved and no query."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest

from gateway.house import ALICE, BOB, TOKENS, GatewayHouse, gateway_client


@pytest.fixture(scope="session")
def standing_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayHouse]:
    house = GatewayHouse(tmp_path_factory.mktemp("gateway"))
    try:
        worker = house.worker(wait=False)
        house.url = house.gateway(FLYWHEEL_MCP_TOKENS=TOKENS, FLYWHEEL_HTTP_RATE="2000", FLYWHEEL_MCP_RATE="2000")
        house.ready(worker)
        yield house
    finally:
        house.stop()


@pytest.fixture
def gateway_house(standing_gateway: GatewayHouse) -> GatewayHouse:
    standing_gateway.reset()
    standing_gateway.client.flushdb()
    return standing_gateway


@pytest.fixture
async def alice(gateway_house: GatewayHouse) -> AsyncIterator[httpx2.AsyncClient]:
    async with gateway_client(gateway_house.url, ALICE) as client:
        yield client


@pytest.fixture
async def bob(gateway_house: GatewayHouse) -> AsyncIterator[httpx2.AsyncClient]:
    async with gateway_client(gateway_house.url, BOB) as client:
        yield client
