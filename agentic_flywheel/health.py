"""How the flows are doing: latencies, errors, cache, scores, queues and circuits, from counters alone."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import AwareDatetime

from agentic_flywheel import wire
from agentic_flywheel.batch import Batch
from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.control import Held, QueueLength, held, queue_lengths
from agentic_flywheel.models import Model
from agentic_flywheel.persistence import CacheStatistics
from agentic_flywheel.tally import HOUR, KEPT, FlowTally, Tally, add_up, hour_of, percentile, read_hours, start_of

Circuit = Literal["closed", "open", "probing", "held"]

NOTHING = FlowTally()
#: A flow that fails at least so often is not well.
OFTEN = 0.05


class Latency(Model):
    """How long something took: for half, for all but one in twenty, for all but one in a hundred."""

    p50: timedelta | None = None
    p95: timedelta | None = None
    p99: timedelta | None = None


class FlowHealth(Model):
    """One flow over a stretch of time, and as it is now."""

    flow: str
    domain: str
    #: Queries that ended, answered from the cache or not.
    queries: int
    per_hour: float
    #: Of queries whose flow was called and answered, from acceptance to answer.
    latency: Latency
    #: From acceptance until the flow was called.
    wait: Latency
    #: By error class; a query that was cancelled is no error.
    errors: dict[str, int]
    #: Share of queries that failed or ran out of time, 0..1; None without any.
    error_rate: float | None
    #: Since the counters were reset.
    cache_hit_rate: float | None
    mean_score: float | None
    scores: int
    #: Calls under way.
    running: int
    circuit: Circuit
    #: Until an open or held circuit lets a call through.
    reopens: timedelta | None = None
    paused: bool = False

    @property
    def verdict(self) -> str:
        """How it is doing, in a few words."""
        if self.paused:
            return "paused"
        if self.circuit in ("open", "held"):
            return f"left alone: its circuit is {self.circuit}"
        if not self.queries:
            return "nothing was asked"
        if self.error_rate and self.error_rate >= OFTEN:
            return f"fails often: {self.error_rate:.0%}"
        return "well"

    def error_rate_of(self, error: str) -> float:
        """Return the share of queries that ended with this class of error."""
        return self.errors.get(error, 0) / self.queries if self.queries else 0.0


class Health(Model):
    """Every flow of a catalog, and every queue."""

    since: AwareDatetime
    until: AwareDatetime
    flows: tuple[FlowHealth, ...]
    queues: tuple[QueueLength, ...]
    #: Accepted and not ended yet.
    under_way: int


async def read_health(batch: Batch, catalog: Catalog, *, span: timedelta = HOUR) -> Health:
    """Return how the flows did for the last ``span``, at most 14 days, and since the full hour before it.

    Raises BrokerUnavailable.
    """
    until = datetime.now(UTC)
    hours = range(hour_of(until - min(span, KEPT)), hour_of(until) + 1)
    flows = [flow for flow in catalog.flows.values() if flow.active]
    figures, now, queues, paused, under_way = await asyncio.gather(
        read_hours(batch, hours),
        asyncio.gather(*(_now(batch, flow) for flow in flows)),
        queue_lengths(batch, catalog),
        held(batch),
        batch.call("HGET", wire.LOAD, "*"),
    )
    tally, since = add_up(figures.values()), start_of(hours[0])
    return Health(
        since=since,
        until=until,
        flows=tuple(_health(flow, tally, until - since, state, paused) for flow, state in zip(flows, now, strict=True)),
        queues=tuple(queues),
        under_way=int(under_way or 0),
    )


class FlowNow(Model):
    """What is true of a flow at this moment."""

    cache: CacheStatistics
    running: int
    circuit: Circuit
    reopens: timedelta | None


async def _now(batch: Batch, flow: Flow) -> FlowNow:
    milliseconds = int(time.time() * 1000)
    counters, running, (hold, opened) = await asyncio.gather(
        batch.call("HGETALL", wire.stats_key(flow.key)),
        batch.call("ZCOUNT", wire.running_key(flow.key), milliseconds, "+inf"),
        batch.call("HMGET", wire.circuit_key(flow.key), "hold_until", "open_until"),
    )
    known = {name: int(value) for name, value in counters.items() if name in CacheStatistics.model_fields}
    circuit, reopens = circuit_of(hold, opened, milliseconds)
    return FlowNow(
        cache=CacheStatistics(flow=flow.key, **known), running=int(running), circuit=circuit, reopens=reopens
    )


def circuit_of(hold_until: str | None, open_until: str | None, now_ms: int) -> tuple[Circuit, timedelta | None]:
    """Return the state of a circuit from its two times in milliseconds, and how long it lasts."""
    if open_until and float(open_until) > now_ms:
        return "open", timedelta(milliseconds=float(open_until) - now_ms)
    if hold_until and float(hold_until) > now_ms:
        return "held", timedelta(milliseconds=float(hold_until) - now_ms)
    return ("probing" if open_until else "closed"), None


def _health(flow: Flow, tally: Tally, span: timedelta, now: FlowNow, paused: Held) -> FlowHealth:
    found = tally.flows.get(flow.key, NOTHING)
    queries = found.queries()
    failed = found.queries("failed", "expired")
    counted = queries - found.queries("cancelled")
    return FlowHealth(
        flow=flow.key,
        domain=flow.domain,
        queries=queries,
        per_hour=queries / (span / HOUR),
        latency=latency_of(found.latencies.get("succeeded", Counter())),
        wait=latency_of(found.waits),
        errors=dict(found.errors.most_common()),
        error_rate=failed / counted if counted else None,
        cache_hit_rate=now.cache.hit_rate,
        mean_score=found.score_sum / found.score_count if found.score_count else None,
        scores=found.score_count,
        running=now.running,
        circuit=now.circuit,
        reopens=now.reopens,
        paused=flow.key in paused.flows or flow.domain in paused.domains,
    )


def latency_of(histogram: Counter[int]) -> Latency:
    """Return the percentiles of a histogram."""
    return Latency(p50=percentile(histogram, 0.50), p95=percentile(histogram, 0.95), p99=percentile(histogram, 0.99))
