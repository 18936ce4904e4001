"""``flywheel health``: latencies, errors and queues of the flows, once or refreshed every few seconds."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from agentic_flywheel.errors import BrokerUnavailable
from agentic_flywheel.figures.health import FlowHealth, Health, Latency, read_health
from agentic_flywheel.figures.tally import HOUR
from agentic_flywheel.tracing.tree import duration
from producer.cli import options
from producer.cli.objects import milliseconds
from producer.cli.screen import Piece, Screen, table_of
from producer.client import AsyncProducer

_PAUSE = 2.0
_ASKED = ("asked", "answered", "fell back", "failed")
_NUMBERS = (*_ASKED, "p50", "p95", "p99", "wait p95", "errors", "cache", "score", "running")


def health(
    watch: Annotated[bool, typer.Option("--watch", help="Show it anew every two seconds, until Ctrl-C.")] = False,
    since: Annotated[
        timedelta | None,
        typer.Option("--since", metavar="TIME", parser=options.duration, help="Over so long, 14d at most; else 1h."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Show per flow: latencies, waiting, errors, cache, score, circuit; and how long each queue is.

    All from counters: it answers without Flowise and without Langfuse.
    """
    screen = Screen(json)
    with screen.reporting():
        try:
            asyncio.run((_watch if watch else _once)(screen, HOUR if since is None else since))
        except KeyboardInterrupt:
            if not watch:
                raise


async def _once(screen: Screen, since: timedelta) -> None:
    async with AsyncProducer(client="cli") as producer:
        found = await read_health(producer.batch, producer.catalog, span=since)
    if screen.json:
        screen.object(_object(found))
    else:
        screen.drawing(_drawn(found))


async def _watch(screen: Screen, since: timedelta) -> None:
    async with AsyncProducer(client="cli") as producer:
        with screen.redrawing() as draw:
            while True:
                try:
                    found = await read_health(producer.batch, producer.catalog, span=since)
                except BrokerUnavailable as away:  # it may come back, and that is what one watches for
                    if screen.json:
                        screen.failure(away.describe())
                    else:
                        draw(Text(f"✗ {away.message}", "bold red"))
                else:
                    if screen.json:
                        screen.object(_object(found))
                    else:
                        draw(_drawn(found))
                await asyncio.sleep(_PAUSE)


def _drawn(health: Health) -> RenderableType:
    flows = table_of(
        ("flow", "state", *_NUMBERS), [_row(flow) for flow in health.flows], right=_NUMBERS, keep=("flow",)
    )
    queues = table_of(
        ("queue", "ready", "delayed", "parked"),
        [(each.queue, str(each.ready), str(each.delayed), str(each.parked)) for each in health.queues],
        right=("ready", "delayed", "parked"),
    )
    classes = [
        Text(f"{flow.flow}: " + ", ".join(f"{number} × {error}" for error, number in flow.errors.items()), "red")
        for flow in health.flows
        if flow.errors
    ]
    asking = f", {health.asking} of them wait for a person" if health.asking else ""
    told = f"Since {health.since.astimezone():%Y-%m-%d %H:%M}. {health.under_way} under way{asking}. "
    told += "Latencies of answers that"
    return Group(
        flows,
        *([Text(), *classes] if classes else []),
        Text(),
        queues,
        Text(),
        Text(f"{told} were not cached, from acceptance on; wait: until the flow was called.", "dim"),
    )


def _row(flow: FlowHealth) -> tuple[Piece, ...]:
    bad = flow.verdict not in ("well", "nothing was asked")
    return (
        flow.flow,
        (flow.verdict, "red" if bad else "green" if flow.queries else "dim"),
        *map(str, (flow.queries, flow.answered, flow.fallen_back, flow.failed)),
        *map(_milliseconds, (flow.latency.p50, flow.latency.p95, flow.latency.p99, flow.wait.p95)),
        _percent(flow.error_rate),
        _percent(flow.cache_hit_rate),
        "" if flow.mean_score is None else f"{flow.mean_score:.1f} ({flow.scores})",
        str(flow.running),
    )


def _milliseconds(span: timedelta | None) -> str:
    return "" if span is None else duration(span // timedelta(microseconds=1) * 1000)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def _object(health: Health) -> dict[str, Any]:
    return {
        **health.model_dump(mode="json", exclude={"flows"}),
        "flows": [
            {
                **flow.model_dump(mode="json", exclude={"latency", "wait", "reopens"}),
                "verdict": flow.verdict,
                "latency_ms": _latency(flow.latency),
                "wait_ms": _latency(flow.wait),
                "reopens_ms": milliseconds(flow.reopens),
            }
            for flow in health.flows
        ],
    }


def _latency(latency: Latency) -> dict[str, float | None]:
    return {name: milliseconds(getattr(latency, name)) for name in ("p50", "p95", "p99")}
