"""A house whose workers call a real Flowise. Without ``--flowise URL`` its tests are skipped."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from pipeline.house import House, at_work
from processes import Process
from pydantic import SecretStr

from agentic_flywheel.settings import Settings
from flowise_real.flows import REGISTRY, make_flows
from flowise_real.model import model_for
from flowise_real.server import RealFlowise
from producer import AsyncProducer

SKIPPED = "needs a real Flowise: FLOWISE_API_KEY=… python3 run.py test --flowise URL"


class RealHouse(House):
    """A broker and workers of ours before a Flowise that is not."""

    def __init__(self, folder: Path, flowise: RealFlowise, flows: dict[str, str]) -> None:
        super().__init__(folder, registry=REGISTRY.format(**flows))
        self.sandbox.kill()
        self.flowise, self.flows, self.flowise_url = flowise, flows, flowise.url

    @property
    def settings(self) -> Settings:
        return super().settings.model_copy(update={"flowise_api_key": SecretStr(self.flowise.key)})

    @property
    def environment(self) -> dict[str, str]:
        """What a command in this house reads."""
        return {
            "REDIS_URL": self.broker.url,
            "FLOWISE_BASE_URL": self.flowise.url,
            "FLOWISE_API_KEY": self.flowise.key,
            "FLYWHEEL_REGISTRY": str(self.registry),
            "FLYWHEEL_HOME": str(self.folder / "home"),
        }

    def worker(self, **more: Any) -> Process:
        return super().worker(FLOWISE_API_KEY=self.flowise.key, **more)


@pytest.fixture(scope="session")
def flowise(request: pytest.FixtureRequest) -> Iterator[RealFlowise]:
    url, key = request.config.getoption("--flowise"), os.environ.get("FLOWISE_API_KEY")
    if not (url and key):
        pytest.skip(SKIPPED)
    server = RealFlowise(url.rstrip("/").removesuffix("/api/v1"), key)
    try:
        yield server
    finally:
        server.clear()


@pytest.fixture(scope="session")
def house(flowise: RealFlowise, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHouse]:
    folder = tmp_path_factory.mktemp("flowise_real")
    with model_for(flowise.url) as model, at_work(RealHouse(folder, flowise, make_flows(flowise, model))) as house:
        yield house


@pytest.fixture
async def producer(house: RealHouse) -> AsyncIterator[AsyncProducer]:
    async with AsyncProducer(house.settings) as producer:
        yield producer
