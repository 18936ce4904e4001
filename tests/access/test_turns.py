"""One owner's hundreds of queries delay another's next one by a few calls, counted in calls, not in seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from pipeline.house import NARROW, SPARING, TECHNICAL, House

from agentic_flywheel.access.limits import OwnLimits
from agentic_flywheel.asker import LOCAL
from agentic_flywheel.broker import wire
from agentic_flywheel.broker.limits import allowance_of
from agentic_flywheel.errors import InvalidSetting
from agentic_flywheel.settings import load_settings
from producer import AsyncProducer

#: Queries of the greedy owner.
MANY = 150
#: Most calls for the greedy owner from the submission of another's query to its own call. Two call times are four calls
#: of `narrow`; the rest is what a busy machine may need to bring the query to its flow.
FEW = 20


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("turns"))
    try:
        house.worker(FLYWHEEL_FLOWISE_CONCURRENCY="2")
        yield house
    finally:
        house.stop()


@pytest.mark.parametrize("flow", ["narrow", "sparing", None])
async def test_a_modest_owner_is_called_after_a_few_of_the_greedy_one(house: House, flow: str | None) -> None:
    for each in (NARROW, SPARING, TECHNICAL):
        house.behave(each, latency=0.25)
    async with AsyncProducer(house.settings) as producer:
        greedy, modest = producer.acting_for("greedy"), producer.acting_for("modest")
        name = flow or "python"
        questions = [f"Which {name} question of mine is number {number}?" for number in range(MANY)]
        many = [each.query_id for each in await asyncio.gather(*(greedy.submit(each, flow=flow) for each in questions))]
        passed = []
        for number in range(3):
            mine = await modest.submit(f"What is {name} question {number} of another?", flow=flow)
            await modest.wait(mine.query_id, 60)
            times = [started(house, each) for each in many]
            accepted, called = int(record(house, mine.query_id, "created")), started(house, mine.query_id)
            passed.append(sum(accepted <= each < called for each in times if each))
        left = sum(not each for each in [started(house, query_id) for query_id in many])
        await greedy.cancel(everything=True)

    assert left > MANY // 3, "the greedy owner's queries still waited"
    assert max(passed) <= FEW, passed


def record(house: House, query_id: str, field: str) -> str:
    value: Any = house.client.hget(wire.record_key(query_id), field)
    return str(value or "")


def started(house: House, query_id: str) -> int:
    """Return when a query's flow was called, in milliseconds since 1970; 0 where it was not yet."""
    return int(record(house, query_id, "started") or 0)


def test_a_tokens_weight_counts_before_that_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_OWNER_WEIGHTS", "alice=3, bob=2")
    settings = load_settings()

    weights = [allowance_of(owner, settings)["weight"] for owner in ("alice", "bob", "carol", LOCAL)]
    assert weights == [3, 2, 1, 1]
    assert allowance_of("bob", settings, OwnLimits(weight=5))["weight"] == 5
    assert allowance_of("bob", settings, OwnLimits(under_way=5))["weight"] == 2


@pytest.mark.parametrize("text", ["alice=0", "alice=11", "alice=much", "alice", "=3", "alice=3;bob=2"])
def test_a_weight_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("FLYWHEEL_OWNER_WEIGHTS", text)

    with pytest.raises(InvalidSetting, match="FLYWHEEL_OWNER_WEIGHTS"):
        load_settings()
