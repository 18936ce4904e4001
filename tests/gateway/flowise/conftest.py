"""One house for all tests of the Flowise-compatible API: flows of every style, tokens, and visitors without one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest

from gateway.flowise.house import WidgetHouse
from gateway.house import ALICE, BOB, TOKENS, gateway_client


@pytest.fixture(scope="session")
def standing_widgets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WidgetHouse]:
    house = WidgetHouse(tmp_path_factory.mktemp("widgets"))
    try:
        worker = house.worker(wait=False)
        house.url = house.gateway(
            FLYWHEEL_MCP_TOKENS=TOKENS, FLYWHEEL_HTTP_VISITORS="true", FLYWHEEL_HTTP_VISITOR_QUERIES="10000"
        )
        house.ready(worker)
        yield house
    finally:
        house.stop()


@pytest.fixture
def widgets(standing_widgets: WidgetHouse) -> WidgetHouse:
    standing_widgets.begin_anew()
    return standing_widgets


@pytest.fixture
async def alice(widgets: WidgetHouse) -> AsyncIterator[httpx2.AsyncClient]:
    async with gateway_client(widgets.url, ALICE) as client:
        yield client


@pytest.fixture
async def bob(widgets: WidgetHouse) -> AsyncIterator[httpx2.AsyncClient]:
    async with gateway_client(widgets.url, BOB) as client:
        yield client


@pytest.fixture
async def visitor(widgets: WidgetHouse) -> AsyncIterator[httpx2.AsyncClient]:
    """Somebody who uses the page of the shop."""
    async with gateway_client(widgets.url, None) as client:
        client.headers["Origin"] = widgets.shop
        yield client
