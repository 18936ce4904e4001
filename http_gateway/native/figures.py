"""Figures over HTTP: how flows and queues are doing, and who asked how much."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import AwareDatetime
from starlette.responses import Response

from agentic_flywheel.access.grant import Scope
from agentic_flywheel.broker.control import QueueLength
from agentic_flywheel.figures.health import Circuit, FlowHealth, Latency, read_health
from agentic_flywheel.figures.usage import Dimension, UsageRow, read_usage
from agentic_flywheel.models import Model
from http_gateway.callers import CallerOf, GatewayCaller
from http_gateway.native.shown import response_of
from mcp_bridge.figures import sees_all_users
from mcp_bridge.views import milliseconds

router = APIRouter(prefix="/v1", tags=["figures"])
Reader = Annotated[GatewayCaller, Depends(CallerOf(Scope.READ))]


class HttpLatency(Model):
    """Percentiles in milliseconds; none where nothing was measured."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class HttpFlowHealth(Model):
    """How one flow is doing."""

    flow: str
    domain: str
    verdict: str
    queries: int
    answered: int
    fallen_back: int
    failed: int
    #: Answers given in place of another flow; not among `queries`.
    stood_in: int
    #: Not called because their owner was at a limit; not among `queries`.
    refused: int
    per_hour: float
    latency_ms: HttpLatency
    wait_ms: HttpLatency
    errors: dict[str, int]
    error_rate: float | None = None
    cache_hit_rate: float | None = None
    mean_score: float | None = None
    scores: int
    running: int
    circuit: Circuit
    reopens_ms: float | None = None
    paused: bool


class HttpHealth(Model):
    """How every active flow and every queue is doing."""

    since: AwareDatetime
    until: AwareDatetime
    under_way: int
    #: Of these, those that wait for a person.
    asking: int
    flows: tuple[HttpFlowHealth, ...]
    queues: tuple[QueueLength, ...]


class HttpUsage(Model):
    """Who asked how much of what, the most first."""

    by: Dimension
    since: AwareDatetime
    until: AwareDatetime
    step_hours: float
    rows: tuple[UsageRow, ...]


@router.get("/health", summary="Flow health", responses={200: {"model": HttpHealth}})
async def health(
    caller: Reader, hours: Annotated[float, Query(gt=0, le=24 * 14, description="The last so many hours.")] = 1.0
) -> Response:
    """Show how each flow is doing, and how long each queue is. From counters: it answers without Flowise too."""
    found = await read_health(caller.producer.batch, caller.producer.catalog, span=timedelta(hours=hours))
    return response_of(
        HttpHealth(
            since=found.since,
            until=found.until,
            under_way=found.under_way,
            asking=found.asking,
            flows=tuple(map(_shown, found.flows)),
            queues=found.queues,
        )
    )


@router.get("/usage", summary="Usage", responses={200: {"model": HttpUsage}})
async def usage(
    caller: Reader,
    by: Annotated[Dimension, Query(description="What a row is.")] = "flow",
    days: Annotated[float, Query(gt=0, le=14, description="The last so many days; 14 are kept.")] = 7.0,
) -> Response:
    """Show how much was asked over the last days. By `user`, only your own row, unless your token has the scope
    admin."""
    found = await read_usage(caller.producer.batch, caller.producer.catalog, by=by, since=timedelta(days=days))
    own_only = by == "user" and not sees_all_users(caller.call)
    rows = tuple(row for row in found.rows if not own_only or caller.asker.may_see_named(row.name))
    step = found.step / timedelta(hours=1)
    return response_of(HttpUsage(by=found.by, since=found.since, until=found.until, step_hours=step, rows=rows))


def _shown(flow: FlowHealth) -> HttpFlowHealth:
    return HttpFlowHealth(
        flow=flow.flow,
        domain=flow.domain,
        verdict=flow.verdict,
        queries=flow.queries,
        answered=flow.answered,
        fallen_back=flow.fallen_back,
        failed=flow.failed,
        stood_in=flow.stood_in,
        refused=flow.refused,
        per_hour=flow.per_hour,
        latency_ms=_latency(flow.latency),
        wait_ms=_latency(flow.wait),
        errors=flow.errors,
        error_rate=flow.error_rate,
        cache_hit_rate=flow.cache_hit_rate,
        mean_score=flow.mean_score,
        scores=flow.scores,
        running=flow.running,
        circuit=flow.circuit,
        reopens_ms=milliseconds(flow.reopens),
        paused=flow.paused,
    )


def _latency(latency: Latency) -> HttpLatency:
    return HttpLatency(p50=milliseconds(latency.p50), p95=milliseconds(latency.p95), p99=milliseconds(latency.p99))
