"""The figures of ``health`` in Prometheus's format, served at one address.

Flow figures come from Redis and are the same in every process; process figures (memory, traces) are this process's.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime

from aiohttp import web
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.clock import broker_now
from agentic_flywheel.catalog import Catalog
from agentic_flywheel.errors import BrokerUnavailable
from agentic_flywheel.figures.health import Circuit, Health, read_health
from agentic_flywheel.figures.tally import STEPS, Histogram, Tally, add_up, hour_of, middle, read_hours, upper_bound
from agentic_flywheel.figures.waiting import QueueWait, read_waits
from agentic_flywheel.models import State
from agentic_flywheel.tracing import ExportCounts, Tracer

#: Octaves that bound the histograms' buckets: every power of two milliseconds, from 2 ms to 2**22 ms (70 minutes).
_OCTAVES = tuple(range(STEPS - 1, 23 * STEPS, STEPS))
#: Number of ports that ``start`` tries: the processes of one machine take consecutive ports.
MAX_TRIED = 100
_CIRCUITS: dict[Circuit, int] = {"closed": 0, "probing": 1, "throttled": 2, "open": 3}


class SteadyCounts:
    """Totals that only grow, summed from hourly counters that expire. Prometheus computes rates from such totals."""

    def __init__(self) -> None:
        self._seen: dict[int, dict[str, int]] = {}
        self._totals: Counter[str] = Counter()

    async def read(self, batch: Batch, *, now: datetime) -> Tally:
        """Return everything counted since the start of the hour in which this was first called.

        Raises BrokerUnavailable.
        """
        hour = hour_of(now)
        self.add(await read_hours(batch, range(min(self._seen, default=hour), hour + 1)))
        return add_up([self._totals])

    def add(self, hours: Mapping[int, dict[str, int]]) -> None:
        """Add to the totals what each hour gained since it was last read. Only the last hour is remembered."""
        for hour, fields in hours.items():
            before = self._seen.get(hour, {})
            for name, number in fields.items():
                self._totals[name] += number - before.get(name, 0)
        last = max(hours)
        self._seen = {last: dict(hours[last])}


class FlywheelCollector(Collector):
    """Yields the latest figures that ``MetricsServer`` has read."""

    def __init__(self) -> None:
        self.health: Health | None = None
        self.tally = add_up([])
        self.catalog: Catalog | None = None
        self.exported: ExportCounts | None = None
        #: What the last audit left (`wire.AUDITED`): a scrape reads that, it does not audit.
        self.audited: dict[str, str] = {}
        self.waits: list[QueueWait] = []

    def collect(self) -> Iterator[Metric]:
        """Yield every metric. While the broker is away, the metrics of flows and queues are left out."""
        yield GaugeMetricFamily("flywheel_up", "Whether the broker could be read.", int(self.health is not None))
        if self.exported is not None:
            yield from _tracing(self.exported)
        if self.health is not None and self.catalog is not None:
            yield from _ended(self.tally, self.catalog)
            yield from _now(self.health)
            yield from _waits(self.waits)
        if self.audited:
            left, at = float(self.audited["offenders"]), float(self.audited["at"]) / 1000
            yield GaugeMetricFamily("flywheel_audit_offenders", "What the last audit left that nothing moves.", left)
            yield GaugeMetricFamily("flywheel_audit_timestamp_seconds", "When the last audit was.", at)


def _ended(tally: Tally, catalog: Catalog) -> Iterator[Metric]:
    queries = CounterMetricFamily(
        "flywheel_queries", "Queries that ended, by the flow that was asked.", labels=["flow", "domain", "outcome"]
    )
    errors = CounterMetricFamily("flywheel_errors", "Queries that ended with an error.", labels=["flow", "error"])
    stood_in = CounterMetricFamily("flywheel_answers_for_others", "Answers given as a fallback.", labels=["flow"])
    scores = CounterMetricFamily("flywheel_scores", "Ratings given.", labels=["flow"])
    duration = HistogramMetricFamily(
        "flywheel_query_duration_seconds", "From acceptance to answer, flow called.", labels=["flow"]
    )
    wait = HistogramMetricFamily(
        "flywheel_query_wait_seconds", "From acceptance to the call of the flow.", labels=["flow"]
    )
    for key, found in tally.flows.items():
        flow = catalog.flows.get(key)
        for outcome, histogram in found.latencies.items():
            queries.add_metric([key, flow.domain if flow else "", outcome], histogram.total())
        for error, number in found.errors.items():
            errors.add_metric([key, error], number)
        scores.add_metric([key], found.score_count)
        stood_in.add_metric([key], found.stood_in)
        for family, times in ((duration, found.latencies.get(State.SUCCEEDED)), (wait, found.waits)):
            if times:
                family.add_metric([key], *buckets_of(times))
    yield from (queries, errors, stood_in, scores, duration, wait)
    yield from _costs(tally, catalog)


def _costs(tally: Tally, catalog: Catalog) -> Iterable[Metric]:
    costs = CounterMetricFamily("flywheel_cost", "What calls cost.", labels=["flow", "domain", "currency"])
    unknown = CounterMetricFamily("flywheel_cost_unknown", "Calls whose cost is not known.", labels=["flow", "domain"])
    for key, spending in tally.spending.get("f", {}).items():
        flow = catalog.flows.get(key)
        domain = flow.domain if flow else ""
        for cost in spending.costs():
            costs.add_metric([key, domain, cost.currency], float(cost.amount))
        if spending.unknown:
            unknown.add_metric([key, domain], spending.unknown)
    return costs, unknown


def buckets_of(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    """Return a histogram's cumulative buckets, and its sum in seconds, which is exact to 9.1 %."""
    below = [
        (f"{upper_bound(bound):g}", float(sum(number for octave, number in histogram.items() if octave <= bound)))
        for bound in _OCTAVES
    ]
    total = sum(number * middle(octave) for octave, number in histogram.items())
    return [*below, ("+Inf", float(histogram.total()))], total


def _now(health: Health) -> Iterator[Metric]:
    under_way = GaugeMetricFamily("flywheel_queries_under_way", "Accepted and not ended yet.", health.under_way)
    asking = GaugeMetricFamily("flywheel_queries_asking", "Of these, those that wait for a person.", health.asking)
    waiting = GaugeMetricFamily("flywheel_queue_length", "Queries that wait.", labels=["queue", "state"])
    for queue in health.queues:
        for state, number in (("ready", queue.ready), ("delayed", queue.delayed), ("parked", queue.parked)):
            waiting.add_metric([queue.queue, state], number)
    yield from (under_way, asking, waiting)
    yield from (
        _by_flow(name, about, health, value)
        for name, about, value in (
            ("flywheel_calls_running", "Calls of the flow under way.", lambda flow: flow.running),
            (
                "flywheel_circuit_state",
                "0 closed, 1 probing, 2 throttled, 3 open.",
                lambda flow: _CIRCUITS[flow.circuit],
            ),
            ("flywheel_flow_paused", "Whether the flow is paused.", lambda flow: int(flow.paused)),
            ("flywheel_cache_hit_ratio", "Share answered without a call.", lambda flow: flow.cache_hit_rate),
            ("flywheel_score_mean", "Mean rating, 1 to 10, of about an hour.", lambda flow: flow.mean_score),
            ("flywheel_error_ratio", "Share of failed queries of about an hour.", lambda flow: flow.error_rate),
        )
    )


def _waits(waits: Iterable[QueueWait]) -> Iterable[Metric]:
    opened = GaugeMetricFamily("flywheel_queue_open", "Accepted and not ended, wherever they are.", labels=["queue"])
    oldest = GaugeMetricFamily("flywheel_queue_oldest_seconds", "Age of the oldest that waits.", labels=["queue"])
    for each in waits:
        opened.add_metric([each.queue], each.open)
        oldest.add_metric([each.queue], each.oldest.total_seconds())
    return opened, oldest


def _by_flow(name: str, about: str, health: Health, value: Callable[..., float | None]) -> Metric:
    family = GaugeMetricFamily(name, about, labels=["flow", "domain"])
    for flow in health.flows:
        number = value(flow)
        if number is not None:
            family.add_metric([flow.flow, flow.domain], number)
    return family


def _tracing(exported: ExportCounts) -> Iterable[Metric]:
    counts = CounterMetricFamily("flywheel_trace_observations", "Observations of this process.", labels=["outcome"])
    counts.add_metric(["sent"], exported.sent)
    counts.add_metric(["dropped"], exported.dropped)
    pending = GaugeMetricFamily("flywheel_trace_pending_bytes", "Observations not sent yet.", exported.pending_bytes)
    return counts, pending


class Exposition:
    """Writes the figures as Prometheus reads them. Each time they are read from Redis again."""

    def __init__(
        self,
        batch: Callable[[], Batch],
        catalog: Callable[[], Catalog],
        *,
        tracer: Tracer | None = None,
        others: Iterable[Collector] = (),
    ) -> None:
        """``others``: what else this process tells."""
        self._batch, self._catalog, self._tracer = batch, catalog, tracer
        self._counts = SteadyCounts()
        self._reading = asyncio.Lock()
        self._collector = FlywheelCollector()
        self._registry = CollectorRegistry()
        for each in (self._collector, *others):
            self._registry.register(each)
        # The constructors register the collectors; nothing else refers to them.
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    async def written(self) -> bytes:
        """Return the figures as text, of the type ``CONTENT_TYPE_LATEST``."""
        async with self._reading:
            self._collector.health, self._collector.audited = None, {}
            self._collector.exported = self._tracer.counts if self._tracer is not None else None
            with suppress(BrokerUnavailable, TimeoutError):
                catalog, batch = self._catalog(), self._batch()
                async with asyncio.timeout(3):
                    self._collector.tally = await self._counts.read(batch, now=await broker_now(batch))
                    self._collector.audited = await batch.call("HGETALL", wire.AUDITED)
                    self._collector.waits = await read_waits(batch, catalog)
                    self._collector.health = await read_health(batch, catalog)
                self._collector.catalog = catalog
            return generate_latest(self._registry)


class MetricsServer:
    """Serves ``/metrics``."""

    def __init__(self, batch: Batch, catalog: Callable[[], Catalog], *, tracer: Tracer | None = None) -> None:
        self._exposition = Exposition(lambda: batch, catalog, tracer=tracer)
        app = web.Application()
        app.add_routes([web.get("/metrics", self._answer)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)

    async def start(self, port: int = 0, *, host: str = "127.0.0.1") -> int:
        """Serve on the first free port from ``port`` on, or on any free port for 0. Returns the port.

        Raises OSError where ``MAX_TRIED`` ports in a row are taken, or ``host`` is no address of this machine.
        """
        await self._runner.setup()
        for wanted in range(port, min(port + MAX_TRIED, 65_536)) if port else (0,):
            try:
                await web.TCPSite(self._runner, host, wanted).start()
            except OSError as taken:
                refusal = taken
            else:
                return int(self._runner.addresses[0][1])
        await self._runner.cleanup()
        raise refusal

    async def close(self) -> None:
        await self._runner.cleanup()

    async def _answer(self, _: web.Request) -> web.Response:
        return web.Response(body=await self._exposition.written(), headers={"Content-Type": CONTENT_TYPE_LATEST})
