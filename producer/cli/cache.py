"""``flywheel cache``: what the answer cache saves."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from agentic_flywheel.broker.persistence import cache_statistics, clear_cache
from producer.cli import options
from producer.cli.screen import Screen
from producer.client import AsyncProducer

cache = options.command_group("Show what the cache saves, or empty it.")


@cache.command()
def stats(json: options.Json = False) -> None:
    """Show hits, misses and shared calls per flow."""
    screen = Screen(json)
    with screen.reporting():
        asyncio.run(_stats(screen))


async def _stats(screen: Screen) -> None:
    async with AsyncProducer(client="cli") as producer:
        found = await cache_statistics(producer.batch, list(producer.catalog.flows))
    if screen.json:
        for each in found:
            screen.object({**each.model_dump(mode="json"), "hit_rate": each.hit_rate})
        return
    numbers = ("hit rate", "hits", "stale", "shared", "misses", "failures", "kept")
    screen.table(
        ("flow", *numbers),
        [
            (
                each.flow,
                "" if each.hit_rate is None else f"{each.hit_rate:.0%}",
                *map(str, (each.hits, each.stale, each.attached, each.misses, each.failures, each.entries)),
            )
            for each in found
        ],
        right=numbers,
    )


@cache.command()
def clear(
    flow: Annotated[str | None, typer.Option("--flow", metavar="FLOW", help="Only this flow's answers.")] = None,
    json: options.Json = False,
) -> None:
    """Forget the kept answers of one flow, or of all."""
    screen = Screen(json)
    with screen.reporting():
        asyncio.run(_clear(screen, flow))


async def _clear(screen: Screen, flow: str | None) -> None:
    async with AsyncProducer(client="cli") as producer:
        if flow is not None:
            producer.catalog.flow(flow)
        removed = await clear_cache(producer.batch, flow)
    if screen.json:
        screen.object({"flow": flow, "cleared": removed})
    else:
        screen.line(f"{removed} answer{'' if removed == 1 else 's'} forgotten.")
