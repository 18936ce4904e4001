"""One house with a gateway for the OpenAI-compatible API; each test finds its flows well-behaved and no query."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest

from gateway.house import ALICE, TOKENS, GatewayHouse, gateway_client
from gateway.openai.chat import ASKING, REGISTRY, SEEING


@pytest.fixture(scope="session")
def standing_openai(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayHouse]:
    house = GatewayHouse(tmp_path_factory.mktemp("openai"), registry=REGISTRY)
    try:
        worker = house.worker(wait=False)
        house.url = house.gateway(FLYWHEEL_MCP_TOKENS=TOKENS, FLYWHEEL_HTTP_RATE="2000")
        house.ready(worker)
        yield house
    finally:
        house.stop()


@pytest.fixture
def openai_house(standing_openai: GatewayHouse) -> GatewayHouse:
    standing_openai.reset()
    standing_openai.client.flushdb()
    standing_openai.build(ASKING, style="approval")
    standing_openai.build(SEEING, style="chat", images=True)
    return standing_openai


@pytest.fixture
async def alice(openai_house: GatewayHouse) -> AsyncIterator[httpx2.AsyncClient]:
    async with gateway_client(openai_house.url, ALICE) as client:
        yield client
