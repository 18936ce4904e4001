"""The tools that show figures: what the cache saves, how flows do, who uses what."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field
from pydantic.json_schema import SkipJsonSchema

from agentic_flywheel.access.grant import Scope
from agentic_flywheel.asker import Asker
from agentic_flywheel.broker.persistence import cache_statistics, clear_cache
from agentic_flywheel.figures.health import Circuit, FlowHealth, read_health
from agentic_flywheel.figures.usage import Dimension, read_usage, sparkline
from agentic_flywheel.models import Cost, Model
from mcp_bridge.arguments import Arguments, FlowKey
from mcp_bridge.tool import READS, REMOVES, Call, tool
from mcp_bridge.views import milliseconds


class CacheLine(Model):
    """What the cache did for one flow."""

    flow_key: str
    hit_rate: Annotated[float | None, Field(description="Share of questions that needed no call of their own.")] = None
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


class WhichCache(Arguments):
    """Whose answers are looked at."""

    flow_key: FlowKey | None = None


async def cache_metrics(call: Call, flow_key: str | None = None) -> CacheMetrics:
    """Return what the cache did for every flow, or for one. Raises UnknownFlow."""
    catalog = call.producer.catalog
    flows = sorted(catalog.flows) if flow_key is None else [catalog.flow(flow_key).key]
    found = await cache_statistics(call.producer.batch, flows)
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


@tool("Cache statistics", READS, Scope.READ)
async def flowise_cache_stats(call: Call, given: WhichCache) -> CacheMetrics:
    """Show per flow what the answer cache saved: hits, misses, calls shared by identical questions, hit rate, and how
    many answers it holds."""
    return await cache_metrics(call, given.flow_key)


class ClearCache(Arguments):
    """Whose answers are to be forgotten."""

    flow_key: FlowKey | None = None
    confirm: Annotated[Literal[True], Field(description="Must be true: everybody's questions are asked anew then.")]


class CacheCleared(Model):
    """What was forgotten."""

    removed: int
    flow_key: str | None = None


@tool("Clear the cache", REMOVES, Scope.MANAGE, changes=True)
async def flowise_clear_cache(call: Call, given: ClearCache) -> CacheCleared:
    """Forget the kept answers of one flow, or of all flows, for everybody. A single question is asked anew without
    this: flowise_query with cache=refresh."""
    if given.flow_key is not None:
        call.producer.catalog.flow(given.flow_key)
    return CacheCleared(removed=await clear_cache(call.producer.batch, given.flow_key), flow_key=given.flow_key)


class HealthSpan(Arguments):
    """How far back to look."""

    hours: Annotated[float, Field(gt=0, le=24 * 14, description="The last so many hours.")] = 1.0


class FlowFigures(Model):
    """How one flow is doing."""

    flow_key: str
    domain: str
    verdict: Annotated[str, Field(description="In a few words.")]
    queries: Annotated[int, Field(description="Questions that the flow was asked.")]
    answered: int
    fallen_back: Annotated[int, Field(description="Answered by its fallback.")]
    failed: int
    stood_in: Annotated[int, Field(description="Answers given in place of another flow, not among `queries`.")]
    refused: Annotated[int, Field(description="Not called, the owner was at a limit; not among `queries`.")]
    per_hour: float
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    wait_p95_ms: float | None = None
    error_rate: float | None = None
    errors: Annotated[dict[str, int], Field(description="By class.")]
    cache_hit_rate: float | None = None
    mean_score: float | None = None
    scores: int
    running: int
    circuit: Annotated[Circuit, Field(description="open: the flow failed so often that it is left alone for a while.")]
    reopens_s: float | None = None
    paused: bool


class QueueFigures(Model):
    """One queue."""

    queue: str
    ready: int
    delayed: int
    parked: int


class HealthReport(Model):
    """How the flows and queues are doing."""

    since: AwareDatetime
    until: AwareDatetime
    under_way: int
    asking: Annotated[int, Field(description="Of these, those that wait for a person.")]
    flows: tuple[FlowFigures, ...]
    queues: tuple[QueueFigures, ...]


async def flow_health(call: Call, hours: float = 1.0) -> HealthReport:
    """Return how every active flow is doing."""
    health = await read_health(call.producer.batch, call.producer.catalog, span=timedelta(hours=hours))
    return HealthReport(
        since=health.since,
        until=health.until,
        under_way=health.under_way,
        asking=health.asking,
        flows=tuple(map(_figures, health.flows)),
        queues=tuple(
            QueueFigures(queue=each.queue, ready=each.ready, delayed=each.delayed, parked=each.parked)
            for each in health.queues
        ),
    )


@tool("Flow health", READS, Scope.READ)
async def flowise_flow_health(call: Call, given: HealthSpan) -> HealthReport:
    """Show how each flow is doing: latency percentiles, waiting, errors by class, cache hit rate, mean score, calls
    under way, circuit; and how long each queue is. From counters, so it answers without Flowise and Langfuse too."""
    return await flow_health(call, given.hours)


def _figures(flow: FlowHealth) -> FlowFigures:
    return FlowFigures(
        flow_key=flow.flow,
        domain=flow.domain,
        verdict=flow.verdict,
        queries=flow.queries,
        answered=flow.answered,
        fallen_back=flow.fallen_back,
        failed=flow.failed,
        stood_in=flow.stood_in,
        refused=flow.refused,
        per_hour=round(flow.per_hour, 2),
        p50_ms=milliseconds(flow.latency.p50),
        p95_ms=milliseconds(flow.latency.p95),
        p99_ms=milliseconds(flow.latency.p99),
        wait_p95_ms=milliseconds(flow.wait.p95),
        error_rate=_rounded(flow.error_rate),
        errors=flow.errors,
        cache_hit_rate=_rounded(flow.cache_hit_rate),
        mean_score=_rounded(flow.mean_score),
        scores=flow.scores,
        running=flow.running,
        circuit=flow.circuit,
        reopens_s=None if flow.reopens is None else round(flow.reopens.total_seconds(), 1),
        paused=flow.paused,
    )


class UsageQuestion(Arguments):
    """Which usage is wanted."""

    by: Annotated[Dimension, Field(description="What a row is.")] = "flow"
    days: Annotated[float, Field(gt=0, le=14, description="The last so many days; 14 are kept.")] = 7.0


class UsageLine(Model):
    """One row."""

    name: str
    queries: int
    share: float
    per_hour: float
    cost: SkipJsonSchema[tuple[Cost, ...] | None] = None
    #: Calls whose cost is not known.
    cost_unknown: SkipJsonSchema[int | None] = None
    course: Annotated[str, Field(description="A sparkline, from the first step to the last.")]


class UsageReport(Model):
    """Who asked how much of what."""

    by: Dimension
    since: AwareDatetime
    until: AwareDatetime
    step_hours: float
    rows: tuple[UsageLine, ...]
    note: str | None = None


def sees_all_users(call: Call) -> bool:
    """Return whether a caller is shown what others have asked: the person at this machine, or a token with admin."""
    return call.asker == Asker() or bool(call.grant.token_id and call.grant.allows(Scope.ADMIN))


@tool("Usage", READS, Scope.READ)
async def flowise_usage_analytics(call: Call, given: UsageQuestion) -> UsageReport:
    """Show how much was asked over the last days, by flow, domain, user or intent, with the course of each as a
    sparkline. With a token, `user` shows your own row only, unless it has
    the scope admin."""
    usage = await read_usage(call.producer.batch, call.producer.catalog, by=given.by, since=timedelta(days=given.days))
    own_only = given.by == "user" and not sees_all_users(call)
    rows = [row for row in usage.rows if not own_only or call.asker.may_see_named(row.name)]
    return UsageReport(
        by=usage.by,
        since=usage.since,
        until=usage.until,
        step_hours=usage.step / timedelta(hours=1),
        rows=tuple(
            UsageLine(
                name=row.name,
                queries=row.queries,
                share=round(row.share, 4),
                per_hour=round(row.per_hour, 3),
                cost=row.costs or None,
                cost_unknown=row.cost_unknown or None,
                course=sparkline(row.course),
            )
            for row in rows
        ),
        note=None if rows else "Nothing was asked in this time.",
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
