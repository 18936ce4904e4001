"""A house with a worker that sends events, and Flower beside it as ``flywheel up`` starts it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pipeline.house import House
from processes import Process, free_port, wait_for

from producer import AsyncProducer
from producer.stack import services
from producer.stack.processes import Service

PASSWORD = "a-password-for-tests"


@dataclass(frozen=True)
class Flower:
    """A running Flower."""

    url: str
    log: Path
    password: str = PASSWORD

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": "Basic " + base64.b64encode(f"flywheel:{self.password}".encode()).decode()}

    async def json(self, path: str) -> Any:
        async with aiohttp.ClientSession(headers=self.headers) as session, session.get(self.url + path) as response:
            return await response.json()

    async def text(self, path: str) -> str:
        async with aiohttp.ClientSession(headers=self.headers) as session, session.get(self.url + path) as response:
            return await response.text()

    async def row(self, task_id: str, *states: str, within: float = 30) -> dict[str, Any]:
        """Return what the API says of a task as soon as it is in one of these states."""
        row: dict[str, Any] = {}
        try:
            async with asyncio.timeout(within):
                while row.get("state") not in states:
                    row = (await self.json("/api/tasks?limit=10000")).get(task_id, {})
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"{task_id} is not {states} but {row}") from None
        return row


async def ready(service: Service) -> bool:
    return await service.ready()


def start_flower(house: House, *, broker: str = "", prefix: str = "") -> tuple[Flower, Process]:
    port = free_port()
    settings = house.settings.model_copy(update={"key_prefix": prefix})
    service = services.flower(
        settings, broker=broker or house.broker.url, port=port, user="flywheel", password=PASSWORD
    )
    log = house.folder / f"flower-{port}.log"
    # A login that comes from a file, as a Secret is often made of one, ends with the end of a line.
    login = {"FLOWER_BASIC_AUTH": f"{service.env['FLOWER_BASIC_AUTH']}\n"}
    process = Process(service.argv, log=log, env={**service.env, **login})
    flower = Flower(f"http://127.0.0.1:{port}", log)
    try:
        wait_for(lambda: asyncio.run(ready(service)) or not process.alive, within=30, every=0.2, what="Flower answers")
        assert process.alive, process.log
    except BaseException:
        process.kill()
        raise
    return flower, process


@pytest.fixture(scope="session")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, Flower]]:
    house = House(tmp_path_factory.mktemp("flower"))
    try:
        flower, process = start_flower(house)
        try:
            house.worker(events=True)
            yield house, flower
        finally:
            process.kill()
    finally:
        house.stop()


@pytest.fixture
def house(standing: tuple[House, Flower]) -> House:
    standing[0].reset()
    return standing[0]


@pytest.fixture
def flower(standing: tuple[House, Flower]) -> Flower:
    return standing[1]


@pytest.fixture
async def producer(house: House) -> AsyncIterator[AsyncProducer]:
    async with AsyncProducer(house.settings) as producer:
        yield producer
