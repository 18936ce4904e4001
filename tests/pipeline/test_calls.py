"""What a query costs a worker in Python calls: a figure that grows with every feature, unless somebody looks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from benchmarks.lab.counting import Calls, calls_during
from benchmarks.lab.flow_server import Flows
from pipeline.house import House
from producer import AsyncProducer

#: Calls that a query may take, of Python and of C together: 5 % more than it took when they were last counted.
MOST = 2005
#: How often one question is counted at most: into some counts falls what a worker does each second, asked or not.
COUNTS = 40
PREFIX = "counted:"


@pytest.fixture
async def flows() -> AsyncIterator[str]:
    """The address of a flow server that answers at once, in this process."""
    server = await asyncio.get_running_loop().create_server(Flows, "127.0.0.1", 0)
    Flows.seconds = 0.0
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


async def test_a_query_takes_no_more_calls_than_it_did(standing_house: House, flows: str, tmp_path: Path) -> None:
    told = tmp_path / "calls.json"
    worker = standing_house.worker(
        module=("benchmarks.lab.counting", str(told)),
        redis_url=standing_house.broker.url,  # its user has no rights to this prefix
        options=("--domain", "technical", "--queues", "classify", "--log-level", "WARNING"),
        FLYWHEEL_KEY_PREFIX=PREFIX,
        FLYWHEEL_UNSERVED_TIMEOUT="60s",
        FLOWISE_BASE_URL=flows,
        LANGFUSE_TRACING_ENABLED="false",
    )
    settings = standing_house.settings.model_copy(
        update={"redis_url": standing_house.broker.url, "key_prefix": PREFIX, "flowise_base_url": flows}
    )
    numbers = iter(range(1000))

    async def ask() -> None:
        await producer.ask(f"How do I connect PostgreSQL number {next(numbers)} to Python?", wait=30)

    try:
        async with AsyncProducer(settings) as producer:
            await ask()  # connections are opened, and what is remembered is learnt
            counted: list[Calls] = []
            while len(counted) < COUNTS and (not counted or counted[-1].total > MOST):
                counted.append(await calls_during(worker.pid, told, ask))
    finally:
        worker.terminate()

    least = min(counted, key=lambda each: each.total)
    assert least.total <= MOST, (
        f"a query takes {least.total} calls in Python. docs/decisions/speed.md says what was done about them; these "
        f"are most: {least.most(40)}"
    )
