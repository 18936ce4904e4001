"""A query that waits for a person outlives its worker and its broker, and ends when the person's time is over."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from mcp import Client
from person.house import run_command
from pipeline.house import APPROVAL, House
from processes import wait_for

from agentic_flywheel.broker import wire
from agentic_flywheel.errors import InputRequired, NobodyDecided, TooManyAsk
from agentic_flywheel.models import Record, State
from mcp_bridge.bridge import Bridge
from mcp_bridge.server import build_server
from producer import AsyncProducer


def fresh() -> str:
    return f"Delete the database? ({uuid.uuid4().hex[:8]})"


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("stops"), aof=True)
    yield house
    house.stop()


@pytest.fixture
def house(standing: House) -> Iterator[House]:
    standing.reset()
    standing.build(APPROVAL, style="approval")
    standing.client.flushdb()
    yield standing
    for worker in standing.workers:
        worker.kill()


@pytest.fixture
async def producer(house: House) -> AsyncIterator[AsyncProducer]:
    async with AsyncProducer(house.settings) as producer:
        yield producer


async def stopped(producer: AsyncProducer) -> Record:
    with pytest.raises(InputRequired) as asked:
        await producer.ask(fresh(), flow="approval", wait=30)
    return await producer.status(asked.value.query_id)


async def test_asked_on_friday_by_mcp_it_is_approved_on_monday_by_the_command_line(
    producer: AsyncProducer, house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    worker = house.worker()
    async with Client(build_server(Bridge(house.settings)), mode="legacy") as client:
        told = await client.call_tool("flowise_query", {"question": fresh(), "flow_override": "approval"})
    waits = told.structured_content or {}
    query_id = waits["query_id"]
    # In between, worker and broker are killed.
    worker.kill()
    # `appendfsync everysec` hands each command to the system at once: only a power loss takes the last second.
    house.broker.kill()
    house.broker.start()
    house.worker()
    house.client.hincrby(wire.record_key(query_id), "created", -3 * 86_400_000)
    found = {"REDIS_URL": house.broker.url, "FLYWHEEL_REGISTRY": str(house.registry)}
    for name, value in {**found, "FLYWHEEL_HOME": str(house.folder / "home")}.items():
        monkeypatch.setenv(name, value)

    listed, resumed, answer = [
        json.loads(await asyncio.to_thread(run_command, line, monkeypatch, capsys))
        for line in (["waiting"], ["resume", query_id, "--proceed"], ["wait", query_id])
    ]

    assert waits["state"] == "input_required"
    assert query_id in listed[1]
    assert (resumed[0], answer[0]) == (0, 0)
    assert "approved" in answer[1]


async def test_a_worker_that_dies_amid_the_resumption_tells_the_flow_nothing_twice(
    producer: AsyncProducer, house: House
) -> None:
    worker = house.worker()
    waits = await stopped(producer)
    house.behave(APPROVAL, latency=15)
    await producer.resume(waits.query_id, "proceed")
    wait_for(lambda: any("humanInput" in each for each in house.latest(5)), what="the decision in Flowise")
    worker.kill()
    house.worker()

    answer = await producer.wait(waits.query_id, timeout=60)

    assert answer.text == "approved"
    assert house.run_in(APPROVAL, waits.stops[0].chat_id)["state"] == "FINISHED"


async def test_what_nobody_decides_in_time_expires_and_is_stopped_in_flowise(
    producer: AsyncProducer, house: House
) -> None:
    house.worker(FLYWHEEL_PERSON_TIMEOUT="1s")
    waits = await stopped(producer)

    with pytest.raises(InputRequired):
        await producer.wait(waits.query_id, timeout=30)
    wait_for(lambda: house.client.zcard(wire.ASKED) == 0, what="the end of the person's time")

    with pytest.raises(NobodyDecided, match="nobody decided in time"):
        await producer.wait(waits.query_id, timeout=30)
    wait_for(lambda: house.run_in(APPROVAL, waits.stops[0].chat_id)["state"] == "TERMINATED", what="its end")


async def test_beyond_the_limit_of_those_that_wait_a_query_fails_by_name(producer: AsyncProducer, house: House) -> None:
    house.worker(FLYWHEEL_PERSON_LIMIT="1")
    waits = await stopped(producer)

    with pytest.raises(TooManyAsk):
        await producer.ask(fresh(), flow="approval", wait=30)
    await producer.cancel(waits.query_id)
    assert (await stopped(producer)).state is State.INPUT_REQUIRED
