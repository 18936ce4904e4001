"""A server that tells its limits is not asked beyond them: no call is refused that could have been known to be."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest

from agentic_flywheel.models import EventKind, WaitReason
from pipeline.house import House, at_work
from producer import AsyncProducer

REGISTRY = """
servers:
  models: {{address: "{url}", backend: openai}}
operational_flows:
  told:
    server: models
    model: sandbox-1
    domain: told
    cache: off
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("told"), registry=REGISTRY.format(url="http://127.0.0.1:1"))
    house.change_registry(REGISTRY.format(url=house.flowise_url))
    with at_work(house):
        yield house


@pytest.fixture
async def producer(house: House) -> AsyncIterator[AsyncProducer]:
    async with AsyncProducer(house.settings) as producer:
        yield producer


async def test_calls_wait_until_the_limit_that_an_answer_told_has_calls_again(
    house: House, producer: AsyncProducer
) -> None:
    house.behave("sandbox-1", rate_limit={"calls": 1, "seconds": 2.0})
    first = await producer.ask("Who is first?", flow="told", wait=30)

    second = await producer.submit("Who is second?", flow="told")
    events = [event async for event in producer.stream(second.query_id)]

    assert first.attempts == 1
    (waited,) = (event for event in events if event.kind is EventKind.WAITING)
    assert waited.data["reason"] == WaitReason.RATE
    # It was not refused first: it was not sent.
    assert EventKind.RETRYING not in {event.kind for event in events}
    assert (await producer.wait(second.query_id)).attempts == 1
    assert events[-1].at - events[0].at > timedelta(seconds=1)
