from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator

import aiohttp
import pytest
from processes import Valkey
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.batch import Batch, connect
from agentic_flywheel.figures.metrics import MAX_TRIED, MetricsServer, SteadyCounts, buckets_of
from tracing.catalogs import CATALOG
from tracing.test_health import TIMEOUT, ended

Figures = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
async def metrics(batch: Batch) -> AsyncIterator[int]:
    server = MetricsServer(batch, lambda: CATALOG)
    yield await server.start()
    await server.close()


async def scrape(port: int) -> Figures:
    """Return every sample by its name and labels, as Prometheus would parse them."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        assert answer.status == 200
        text = await answer.text()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(**labels: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


async def test_prometheus_reads_the_figures_of_flows_and_queues(metrics: int, redis_client: Redis) -> None:
    await ended(redis_client, "sql", "succeeded", times=8, took=1000)
    await ended(redis_client, "sql", "failed", times=2, error=TIMEOUT)
    await redis_client.lpush("classify", "a")
    await redis_client.hset(wire.circuit_key("sql"), "open_until", 1)
    await redis_client.zadd(wire.OPEN, {"in-line": 1, "unrouted": 1})
    await redis_client.sadd(wire.open_in_key("technical"), "in-line")
    long_ago = (time.time() - 60) * 1000
    await redis_client.hset(
        wire.record_key("in-line"),
        items=[
            "state",
            "waiting",
            "reason",
            "session",
            "domain",
            "technical",
            "created",
            long_ago,
            "person_ms",
            20_000,
        ],
    )

    found = await scrape(metrics)

    assert found["flywheel_up", ()] == 1
    assert found["flywheel_queries_total", of(flow="sql", domain="technical", outcome="succeeded")] == 8
    assert found["flywheel_errors_total", of(flow="sql", error="FlowTimeout")] == 2
    assert found["flywheel_query_duration_seconds_count", of(flow="sql")] == 8
    assert found["flywheel_query_duration_seconds_sum", of(flow="sql")] == pytest.approx(8, rel=0.1)
    assert found["flywheel_query_duration_seconds_bucket", of(flow="sql", le="1.024")] == 8
    assert found["flywheel_query_duration_seconds_bucket", of(flow="sql", le="0.512")] == 0
    assert found["flywheel_queue_length", of(queue="classify", state="ready")] == 1
    assert found["flywheel_queue_open", of(queue="domain.technical")] == 1
    assert found["flywheel_queue_oldest_seconds", of(queue="domain.technical")] == pytest.approx(40, abs=15)
    assert found["flywheel_queue_open", of(queue="classify")] == 1
    assert found["flywheel_queue_oldest_seconds", of(queue="classify")] == 0
    assert found["flywheel_circuit_state", of(flow="sql", domain="technical")] == 1
    assert found["flywheel_error_ratio", of(flow="sql", domain="technical")] == 0.2
    assert ("flywheel_score_mean", of(flow="sql", domain="technical")) not in found
    assert found["process_resident_memory_bytes", ()] > 0


async def test_counts_only_grow(metrics: int, redis_client: Redis) -> None:
    await ended(redis_client, "sql", "succeeded", times=3)
    await scrape(metrics)
    await ended(redis_client, "sql", "succeeded", times=2)

    found = await scrape(metrics)

    assert found["flywheel_queries_total", of(flow="sql", domain="technical", outcome="succeeded")] == 5


def test_an_hour_that_ends_or_expires_takes_nothing_from_the_counts() -> None:
    counts = SteadyCounts()
    counts.add({1: {"u|ada": 3}})
    counts.add({1: {"u|ada": 5}, 2: {"u|ada": 1}})
    counts.add({2: {"u|ada": 4}})

    assert counts._totals == Counter({"u|ada": 9})


async def test_a_broker_that_is_away_is_said_and_no_fault(tmp_path_factory: pytest.TempPathFactory) -> None:
    broker = Valkey(tmp_path_factory.mktemp("broker")).start()
    client = connect(broker.url)
    server = MetricsServer(Batch(client), lambda: CATALOG)
    try:
        port = await server.start()
        assert (await scrape(port))["flywheel_up", ()] == 1
        broker.kill()
        found = await scrape(port)
    finally:
        await server.close()
        await client.aclose()
        broker.kill()

    assert found["flywheel_up", ()] == 0
    assert found["process_resident_memory_bytes", ()] > 0
    assert not [name for name, _ in found if name.startswith("flywheel_quer")]


async def test_processes_of_one_machine_take_one_port_after_the_other(metrics: int, batch: Batch) -> None:
    second, third = MetricsServer(batch, lambda: CATALOG), MetricsServer(batch, lambda: CATALOG)
    try:
        ports = [await second.start(metrics), await third.start(metrics)]
        found = [await scrape(port) for port in ports]
    finally:
        await second.close()
        await third.close()

    assert metrics < ports[0] < ports[1] < metrics + MAX_TRIED
    assert all(figures["flywheel_up", ()] == 1 for figures in found)


async def test_where_no_port_is_free_nothing_is_left_open(
    metrics: int, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentic_flywheel.figures.metrics.MAX_TRIED", 1)

    with pytest.raises(OSError, match="address already in use"):
        await MetricsServer(batch, lambda: CATALOG).start(metrics)


def test_buckets_are_cumulative_and_complete() -> None:
    buckets, total = buckets_of(Counter({0: 1, 39: 2, 200: 1}))

    numbers = [number for _, number in buckets]
    assert numbers == sorted(numbers)
    assert buckets[-1] == ("+Inf", 4)
    assert buckets[-2][1] == 3
    assert total > 0
