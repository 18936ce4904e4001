"""``flywheel usage``: who asks how much of what, with the course of each as a line of bars."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Annotated, Any

import typer

from agentic_flywheel.figures.usage import MAX_STEPS, Dimension, UsageRow, UsageTable, read_usage, sparkline
from agentic_flywheel.prices import rounded
from producer.cli import options
from producer.cli.safe_text import one_line
from producer.cli.screen import Screen
from producer.client import AsyncProducer

_WEEK = timedelta(days=7)
#: Columns beside the course; and the shortest course that is worth drawing.
_BESIDE, _SHORTEST = 86, 12


def usage(
    by: Annotated[Dimension, typer.Option("--by", help="What a row is.")] = "flow",
    since: Annotated[
        timedelta | None,
        typer.Option("--since", metavar="TIME", parser=options.duration, help="Over so long, 14d at most; else 7d."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Show how much was asked, by flow, domain, user or intent, the most used first."""
    screen = Screen(json)
    with screen.reporting():
        asyncio.run(_usage(screen, by, _WEEK if since is None else since))


async def _usage(screen: Screen, by: Dimension, since: timedelta) -> None:
    steps = MAX_STEPS if screen.json else max(_SHORTEST, min(MAX_STEPS, screen.width - _BESIDE))
    async with AsyncProducer(client="cli") as producer:
        found = await read_usage(producer.batch, producer.catalog, by=by, since=since, steps=steps)
    if screen.json:
        for each in _objects(found):
            screen.object(each)
    elif found.rows:
        _show(screen, found)
    else:
        screen.line("Nothing was asked in this time.")


def _show(screen: Screen, usage: UsageTable) -> None:
    ends = ("answered", "fell back", "failed") if usage.by in ("flow", "domain") else ()
    paid = ("cost",) if any(row.costs or row.cost_unknown for row in usage.rows) else ()
    numbers = ("asked", *ends, "share", "per hour", *paid)
    screen.table(
        (usage.by, *numbers, "course"),
        [
            (
                one_line(row.name, 30),
                str(row.queries),
                *([str(each or 0) for each in (row.answered, row.fallen_back, row.failed)] if ends else []),
                f"{row.share:.0%}",
                f"{row.per_hour:.1f}",
                *([_cost(row)] if paid else []),
                (sparkline(row.course), "cyan"),
            )
            for row in usage.rows
        ],
        right=numbers,
        keep=("course",),
    )
    hours = round(usage.step / timedelta(hours=1))
    each = "one hour" if hours == 1 else f"{hours} hours"
    screen.line((f"From {usage.since.astimezone():%Y-%m-%d %H:%M} until now; one bar is {each}.", "dim"))


def _cost(row: UsageRow) -> str:
    """Return what a row's calls cost, and of how many that is not known."""
    known = " + ".join(rounded(cost) for cost in row.costs)
    return ", ".join(filter(None, (known, f"{row.cost_unknown} unknown" if row.cost_unknown else ""))) or "-"


def _objects(usage: UsageTable) -> list[dict[str, Any]]:
    span = {"by": usage.by, "since": usage.since.isoformat(), "until": usage.until.isoformat()}
    return [
        {**row.model_dump(mode="json"), **span, "step_hours": usage.step / timedelta(hours=1)} for row in usage.rows
    ]
