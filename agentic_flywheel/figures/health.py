"""Health of the flows and queues: latencies, errors, cache, scores, queue lengths, circuits.

Reads counters only; no query's record is scanned, so the cost does not grow with the number of queries.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime, timedelta
from typing import Literal

from pydantic import AwareDatetime

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.clock import broker_now
from agentic_flywheel.broker.control import Paused, QueueLength, queue_lengths, read_paused
from agentic_flywheel.broker.persistence import CacheStatistics, read_counters
from agentic_flywheel.broker.stored import reading
from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.figures.tally import (
    HOUR,
    KEPT,
    FlowTally,
    Tally,
    add_up,
    hour_of,
    percentile,
    read_hours,
    start_of,
)
from agentic_flywheel.models import HowEnded, Model, State

Circuit = Literal["closed", "open", "probing", "throttled"]

NOTHING = FlowTally()
#: Error rate, 0..1, from which ``FlowHealth.verdict`` says that a flow fails often.
OFTEN = 0.05


class Latency(Model):
    """The 50th, 95th and 99th percentile of a duration; None where nothing was measured."""

    p50: timedelta | None = None
    p95: timedelta | None = None
    p99: timedelta | None = None


class FlowHealth(Model):
    """One flow: its figures over the span that was asked for, and its present state."""

    flow: str
    domain: str
    #: Questions that the flow was asked and that ended within the span: answered (also from the cache), fallen back
    #: (answered by its fallback), failed (also expired), cancelled.
    queries: int
    answered: int
    fallen_back: int
    failed: int
    #: Answers that the flow gave in place of another one, whose fallback it is. They are not among its `queries`.
    stood_in: int
    #: Questions for which it was not called because their owner was at a limit. They are not among its `queries`.
    refused: int
    per_hour: float
    #: From acceptance to answer. Only queries whose flow was called and answered are measured.
    latency: Latency
    #: From acceptance to the call of the flow.
    wait: Latency
    #: Number of errors by their class, also of those after which the fallback was asked. Being cancelled is none.
    errors: dict[str, int]
    #: Share of queries that the flow did not answer (failed or fallen back), 0..1; None where no query ended.
    error_rate: float | None
    #: Share of questions answered without a call, 0..1, since the cache's counters were last reset.
    cache_hit_rate: float | None
    mean_score: float | None
    scores: int
    #: Number of calls under way now.
    running: int
    circuit: Circuit
    #: Time until an open or throttled circuit lets the next call through.
    reopens: timedelta | None = None
    paused: bool = False

    @property
    def verdict(self) -> str:
        """The flow's state in a few words, for a person."""
        if self.paused:
            return "paused"
        if self.circuit in ("open", "throttled"):
            return f"left alone: its circuit is {self.circuit}"
        if not self.queries:
            return "nothing was asked"
        if self.fallen_back >= OFTEN * self.queries:
            return f"falls back: {self.fallen_back / self.queries:.0%}"
        if self.error_rate and self.error_rate >= OFTEN:
            return f"fails often: {self.error_rate:.0%}"
        return "well"


class Health(Model):
    """The health of every active flow of a catalog, and the length of every queue."""

    since: AwareDatetime
    until: AwareDatetime
    flows: tuple[FlowHealth, ...]
    queues: tuple[QueueLength, ...]
    #: Number of queries that were accepted and have not ended; and of them, those that wait for a person.
    under_way: int
    asking: int = 0


async def read_health(batch: Batch, catalog: Catalog, *, span: timedelta = HOUR) -> Health:
    """Return the health of all active flows over the last ``span``, at most 14 days.

    Counters are hourly, so the figures begin at the full hour in which the span begins (``Health.since``).
    Raises BrokerUnavailable.
    """
    until = await broker_now(batch)
    hours = range(hour_of(until - min(span, KEPT)), hour_of(until) + 1)
    flows = [flow for flow in catalog.flows.values() if flow.active]
    figures, now, queues, paused, under_way, asking = await asyncio.gather(
        read_hours(batch, hours),
        asyncio.gather(*(_now(batch, flow, until) for flow in flows)),
        queue_lengths(batch, catalog),
        read_paused(batch),
        batch.call("ZCARD", wire.OPEN),
        batch.call("ZCARD", wire.ASKED),
    )
    tally, since = add_up(figures.values()), start_of(hours[0])
    return Health(
        since=since,
        until=until,
        flows=tuple(_health(flow, tally, until - since, state, paused) for flow, state in zip(flows, now, strict=True)),
        queues=tuple(queues),
        under_way=int(under_way),
        asking=int(asking),
    )


class FlowNow(Model):
    """The present state of one flow."""

    cache: CacheStatistics
    running: int
    circuit: Circuit
    reopens: timedelta | None


async def _now(batch: Batch, flow: Flow, moment: datetime) -> FlowNow:
    milliseconds = int(moment.timestamp() * 1000)
    counters, running, (hold, opened) = await asyncio.gather(
        read_counters(batch, flow.key),
        batch.call("ZCOUNT", wire.running_key(flow.key), milliseconds, "+inf"),
        batch.call("HMGET", wire.circuit_key(flow.key), "throttled_until", "open_until"),
    )
    with reading("the circuit of flow", flow.key):
        circuit, reopens = circuit_of(hold, opened, milliseconds)
    return FlowNow(cache=counters, running=int(running), circuit=circuit, reopens=reopens)


def circuit_of(throttled_until: str | None, open_until: str | None, now_ms: int) -> tuple[Circuit, timedelta | None]:
    """Return the state of a circuit, and how long it stays so; None where that is not known.

    ``throttled_until`` and ``open_until`` are the circuit's times in Redis. They and ``now_ms`` are milliseconds since
    1970.
    """
    if open_until and float(open_until) > now_ms:
        return "open", timedelta(milliseconds=float(open_until) - now_ms)
    if throttled_until and float(throttled_until) > now_ms:
        return "throttled", timedelta(milliseconds=float(throttled_until) - now_ms)
    return ("probing" if open_until else "closed"), None


def _health(flow: Flow, tally: Tally, span: timedelta, now: FlowNow, paused: Paused) -> FlowHealth:
    found = tally.flows.get(flow.key, NOTHING)
    queries = found.queries()
    failed, fallen_back = found.queries(State.FAILED, State.EXPIRED), found.queries(HowEnded.FALLEN_BACK)
    counted = queries - found.queries(State.CANCELLED)
    return FlowHealth(
        flow=flow.key,
        domain=flow.domain,
        queries=queries,
        answered=found.queries(State.SUCCEEDED, HowEnded.CACHED, HowEnded.ATTACHED),
        fallen_back=fallen_back,
        failed=failed,
        stood_in=found.stood_in,
        refused=found.queries(HowEnded.REFUSED),
        per_hour=queries / (span / HOUR),
        latency=latency_of(found.latencies.get(State.SUCCEEDED, Counter())),
        wait=latency_of(found.waits),
        errors=dict(found.errors.most_common()),
        error_rate=(failed + fallen_back) / counted if counted else None,
        cache_hit_rate=now.cache.hit_rate,
        mean_score=found.score_sum / found.score_count if found.score_count else None,
        scores=found.score_count,
        running=now.running,
        circuit=now.circuit,
        reopens=now.reopens,
        paused=flow.key in paused.flows or flow.domain in paused.domains,
    )


def latency_of(histogram: Counter[int]) -> Latency:
    """Return the percentiles of a histogram whose keys are octaves (see ``tally``)."""
    return Latency(p50=percentile(histogram, 0.50), p95=percentile(histogram, 0.95), p99=percentile(histogram, 0.99))
