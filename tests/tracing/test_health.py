from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from redis.asyncio import Redis

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.control import pause
from agentic_flywheel.figures.health import FlowHealth, circuit_of, read_health
from agentic_flywheel.figures.tally import add_up, hour_of
from agentic_flywheel.figures.usage import FORMER, read_usage, sparkline, usage_of
from tracing.catalogs import CATALOG
from tracing.lua import run_lua

HOUR_S = 3600
#: The longest a test takes, generously.
TEST_S = 5
LATER_MS = HOUR_S * 1000
TIMEOUT = "FlowTimeout"


def now_ms() -> int:
    return int(time.time() * 1000)


async def ended(
    client: Redis, flow: str, outcome: str, *, times: int = 1, took: int = 1000, error: str = "", owner: str = "ada"
) -> None:
    """Count queries that were accepted ``took`` milliseconds ago and called their flow half-way.

    Close to the end of an hour the next one is awaited, so that a test counts and reads in the same one.
    """
    left_s = HOUR_S - time.time() % HOUR_S
    if left_s < TEST_S:
        await asyncio.sleep(left_s)
    code = """
    local flow, outcome, times, took, err, owner, now = unpack(ARGV)
    took, now = tonumber(took), tonumber(now)
    for i = 1, times do
      tally_flow(hour_of(now), flow, nil, outcome, err ~= '' and err or nil, now - took, now - took / 2, now)
      tally_names(hour_of(now), owner)
    end
    """
    await run_lua(client, code, flow, outcome, times, took, error, owner, now_ms())


async def flow_health(batch: Batch, flow: str) -> FlowHealth:
    health = await read_health(batch, CATALOG)
    return next(each for each in health.flows if each.flow == flow)


async def test_a_flow_tells_its_latencies_errors_and_waits(batch: Batch, redis_client: Redis) -> None:
    await ended(redis_client, "sql", "succeeded", times=90, took=1000)
    await ended(redis_client, "sql", "succeeded", times=10, took=20_000)
    await ended(redis_client, "sql", "failed", times=15, error=TIMEOUT)
    await ended(redis_client, "sql", "expired", times=5, error=TIMEOUT.replace("FlowTimeout", "DeadlineExceeded"))
    await ended(redis_client, "sql", "cancelled", times=10)
    await ended(redis_client, "sql", "cached", times=50, took=1)

    flow = await flow_health(batch, "sql")

    assert flow.queries == 180
    assert flow.latency.p50 is not None
    assert flow.latency.p99 is not None
    assert flow.latency.p50.total_seconds() == pytest.approx(1, rel=0.1)
    assert flow.latency.p99.total_seconds() == pytest.approx(20, rel=0.1)
    assert flow.wait.p50 is not None
    assert flow.wait.p50.total_seconds() == pytest.approx(0.5, rel=0.1)
    assert flow.errors == {"FlowTimeout": 15, "DeadlineExceeded": 5}
    assert flow.error_rate == pytest.approx(20 / 170)
    assert 90 <= flow.per_hour <= 180


async def test_a_flow_that_nobody_asked_has_no_figures_rather_than_zeros(batch: Batch, redis_client: Redis) -> None:
    flow = await flow_health(batch, "poem")

    assert (flow.queries, flow.latency.p50, flow.error_rate, flow.cache_hit_rate, flow.mean_score) == (0, *[None] * 4)
    assert (flow.circuit, flow.paused, flow.running) == ("closed", False, 0)


async def test_what_is_true_now_is_told(batch: Batch, redis_client: Redis) -> None:
    await redis_client.hset(wire.stats_key("sql"), mapping={"hits": 6, "misses": 2, "attached": 2})
    await redis_client.zadd(wire.running_key("sql"), {"one": now_ms() + LATER_MS, "over": now_ms() - 1})
    await redis_client.hset(wire.circuit_key("code"), "open_until", now_ms() + LATER_MS)
    await redis_client.zadd(wire.OPEN, {f"q{number}": number for number in range(7)})
    await redis_client.lpush("domain.technical", "a", "b")
    await pause(batch, domain="creative")

    health = await read_health(batch, CATALOG)

    sql, code, poem = health.flows
    assert (sql.cache_hit_rate, sql.running) == (0.8, 1)
    assert code.circuit == "open"
    assert code.reopens is not None
    assert timedelta(0) < code.reopens <= timedelta(milliseconds=LATER_MS)
    assert (poem.paused, sql.paused) == (True, False)
    assert health.under_way == 7
    assert {queue.queue: queue.ready for queue in health.queues}["domain.technical"] == 2


@pytest.mark.parametrize(
    ("throttled_until", "open_until", "circuit"),
    [
        (None, None, "closed"),
        ("900", None, "closed"),
        ("1500.5", None, "throttled"),
        (None, "1500", "open"),
        (None, "900", "probing"),
    ],
)
def test_a_circuit_is_read_from_its_two_times(
    throttled_until: str | None, open_until: str | None, circuit: str
) -> None:
    assert circuit_of(throttled_until, open_until, 1000)[0] == circuit


async def test_usage_is_told_by_flow_domain_and_user(batch: Batch, redis_client: Redis) -> None:
    await ended(redis_client, "sql", "succeeded", times=3)
    await ended(redis_client, "code", "cached", times=1)
    await ended(redis_client, "poem", "failed", times=2, owner="eve")
    await ended(redis_client, "gone", "succeeded", times=1)

    rows = {by: await read_usage(batch, CATALOG, by=by) for by in ("flow", "domain", "user", "intent")}

    named = {by: [(row.name, row.queries) for row in usage.rows] for by, usage in rows.items()}
    assert named == {
        "flow": [("sql", 3), ("poem", 2), ("code", 1), ("gone", 1)],
        "domain": [("technical", 4), ("creative", 2), (FORMER, 1)],
        "user": [("ada", 5), ("eve", 2)],
        "intent": [],
    }
    assert rows["flow"].rows[0].share == pytest.approx(3 / 7)
    assert rows["flow"].rows[0].course[-1] == 3


def test_long_times_are_drawn_in_fewer_steps_and_lose_nothing() -> None:
    until = datetime(2026, 3, 15, 12, 30, tzinfo=UTC)
    hours = {hour: add_up([{"u|ada": 1}]) for hour in range(hour_of(until) - 335, hour_of(until) + 1)}

    usage = usage_of(hours, CATALOG, by="user", until=until)

    (row,) = usage.rows
    assert usage.step == timedelta(hours=6)
    assert row.course == (6,) * 56
    assert row.queries == 336


def test_a_line_of_bars_is_as_high_as_its_numbers() -> None:
    assert sparkline([0, 1, 4, 8]) == " ▁▄█"
    assert sparkline([5, 5]) == "██"
    assert sparkline([0, 0]) == "  "
    assert sparkline([1, 1000]) == "▁█"
    assert sparkline([]) == ""
