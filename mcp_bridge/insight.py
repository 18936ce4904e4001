"""The tools that look back: traces, the cache, the flows' health."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from agentic_flywheel.control import held, queue_lengths
from agentic_flywheel.models import Model, Record, State, trace_id_of
from agentic_flywheel.persistence import cache_statistics, clear_cache
from mcp_bridge.arguments import FlowKey
from mcp_bridge.flows import Nothing
from mcp_bridge.tool import READS, REMOVES, Arguments, Call, tool
from mcp_bridge.views import FlowKeyOut, QueryIdOut

#: Of so many latest queries a search is made.
_SEARCHED = 500


class TraceLine(Model):
    """One query in a list."""

    trace_id: str
    query_id: QueryIdOut
    question: str
    state: State
    flow_key: FlowKeyOut | None = None
    domain: str | None = None
    session_id: str | None = None
    cached: bool | None = None
    error: str | None = None
    created: AwareDatetime
    elapsed_ms: float | None = None


class TraceList(Model):
    """Queries of the caller, the newest first."""

    traces: tuple[TraceLine, ...]


def _line(record: Record) -> TraceLine:
    answer, finished = record.answer, record.finished
    return TraceLine(
        trace_id=trace_id_of(record.query_id),
        query_id=record.query_id,
        question=record.query.question[:200],
        state=record.state,
        flow_key=record.flow,
        domain=record.domain,
        session_id=record.query.session_id,
        cached=answer.cached if answer is not None else None,
        error=record.error.error if record.error is not None else None,
        created=record.created,
        elapsed_ms=_between(record.created, finished),
    )


async def recent_traces(call: Call, limit: int = 20) -> TraceList:
    """Return the caller's latest queries."""
    return TraceList(traces=tuple(map(_line, await call.producer.recent(limit=limit))))


class CacheLine(Model):
    """What the cache did for one flow."""

    flow_key: FlowKeyOut
    hit_rate: Annotated[float | None, Field(description="Share of questions that needed no call of their own.")]
    hits: int
    misses: int
    attached: Annotated[int, Field(description="Answered by the call of an identical question.")]
    stale: int
    calls_saved: int
    failures: int
    entries: Annotated[int, Field(description="Answers that are kept now.")]


class CacheMetrics(Model):
    """What the cache saves."""

    flows: tuple[CacheLine, ...]


async def cache_metrics(call: Call) -> CacheMetrics:
    """Return what the cache did for every flow."""
    found = await cache_statistics(call.producer.batch, sorted(call.producer.catalog.flows))
    return CacheMetrics(
        flows=tuple(
            CacheLine(
                flow_key=each.flow,
                hit_rate=None if each.hit_rate is None else round(each.hit_rate, 4),
                hits=each.hits,
                misses=each.misses,
                attached=each.attached,
                stale=each.stale,
                calls_saved=each.hits + each.stale + each.attached,
                failures=each.failures,
                entries=each.entries,
            )
            for each in found
        )
    )


@tool("Cache statistics", READS)
async def flowise_cache_stats(call: Call, given: Nothing) -> CacheMetrics:
    """Show per flow what the answer cache saved: hits, misses, calls shared by identical questions, hit rate, and how
    many answers it holds."""
    return await cache_metrics(call)


class ClearCache(Arguments):
    """Whose answers are to be forgotten."""

    flow_key: FlowKey | None = None
    confirm: Annotated[Literal[True], Field(description="Must be true: everybody's questions are asked anew then.")]


class CacheCleared(Model):
    """What was forgotten."""

    removed: int
    flow_key: FlowKeyOut | None = None


@tool("Clear the cache", REMOVES, changes=True)
async def flowise_clear_cache(call: Call, given: ClearCache) -> CacheCleared:
    """Forget the kept answers of one flow, or of all flows, for everybody. A single question is asked anew without
    this: flowise_query with cache=refresh."""
    if given.flow_key is not None:
        call.producer.catalog.flow(given.flow_key)
    return CacheCleared(removed=await clear_cache(call.producer.batch, given.flow_key), flow_key=given.flow_key)


class FlowHealth(Model):
    """How one flow is doing."""

    flow_key: FlowKeyOut
    domain: str
    queue_ready: int
    queue_delayed: int
    queue_parked: int
    paused: bool


class HealthReport(Model):
    """How the flows are doing."""

    flows: tuple[FlowHealth, ...]


async def flow_health(call: Call) -> HealthReport:
    """Return how every active flow is doing."""
    catalog, batch = call.producer.catalog, call.producer.batch
    lengths = {each.queue: each for each in await queue_lengths(batch, catalog)}
    paused = await held(batch)
    found = []
    for flow in catalog.active.values():
        length = lengths[f"domain.{flow.domain}"]
        found.append(
            FlowHealth(
                flow_key=flow.key,
                domain=flow.domain,
                queue_ready=length.ready,
                queue_delayed=length.delayed,
                queue_parked=length.parked,
                paused=flow.domain in paused.domains or flow.key in paused.flows,
            )
        )
    return HealthReport(flows=tuple(found))


def _between(start: datetime, end: datetime | None) -> float | None:
    return None if end is None else round((end - start) / timedelta(milliseconds=1), 1)


TOOLS = (flowise_cache_stats, flowise_clear_cache)
