"""Who asks how much of what, over days: by flow, domain, user or intent, with a line that shows the course."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import AwareDatetime

from agentic_flywheel.batch import Batch
from agentic_flywheel.catalog import Catalog
from agentic_flywheel.models import Model
from agentic_flywheel.tally import HOUR, KEPT, Tally, add_up, hour_of, read_hours, start_of

Dimension = Literal["flow", "domain", "user", "intent"]

#: Longest course of a row; more hours are drawn together.
MAX_STEPS = 56
#: A domain whose flow has left the catalog.
FORMER = "(former)"
_BARS = "▁▂▃▄▅▆▇█"


class UsageRow(Model):
    """One flow, domain, user or intent."""

    name: str
    queries: int
    #: Share of all queries, 0..1.
    share: float
    per_hour: float
    #: Queries per step, from the first to the last.
    course: tuple[int, ...]


class Usage(Model):
    """The rows of one dimension, the most used first."""

    by: Dimension
    since: AwareDatetime
    until: AwareDatetime
    step: timedelta
    rows: tuple[UsageRow, ...]


async def read_usage(
    batch: Batch,
    catalog: Catalog,
    *,
    by: Dimension = "flow",
    since: timedelta = timedelta(days=7),
    steps: int = MAX_STEPS,
) -> Usage:
    """Return what was asked in the time ``since``, at most the 14 days that are kept, in at most so many ``steps``.

    Raises BrokerUnavailable.
    """
    until = datetime.now(UTC)
    hours = range(hour_of(until - min(since, KEPT)), hour_of(until) + 1)
    figures = await read_hours(batch, hours)
    return usage_of(
        {hour: add_up([fields]) for hour, fields in figures.items()}, catalog, by=by, until=until, steps=steps
    )


def usage_of(
    hours: Mapping[int, Tally], catalog: Catalog, *, by: Dimension, until: datetime, steps: int = MAX_STEPS
) -> Usage:
    """Return the usage in these hours, which follow each other."""
    first, last = min(hours), max(hours)
    width = math.ceil((last - first + 1) / steps)
    steps = math.ceil((last - first + 1) / width)
    courses: dict[str, list[int]] = {}
    for hour, tally in hours.items():
        for name, number in _counts(tally, catalog, by).items():
            courses.setdefault(name, [0] * steps)[(hour - first) // width] += number
    total = sum(map(sum, courses.values()))
    span = until - start_of(first)
    return Usage(
        by=by,
        since=start_of(first),
        until=until,
        step=width * HOUR,
        rows=tuple(
            UsageRow(
                name=name,
                queries=sum(course),
                share=sum(course) / total if total else 0.0,
                per_hour=sum(course) / (span / HOUR),
                course=tuple(course),
            )
            for name, course in sorted(courses.items(), key=lambda row: (-sum(row[1]), row[0]))
        ),
    )


def sparkline(course: Sequence[int]) -> str:
    """Return a course as a line of bars, as high as their share of the highest; nothing where nothing was."""
    highest = max(course, default=0)
    return "".join(" " if not each else _BARS[(each * len(_BARS) - 1) // highest] for each in course)


def _counts(tally: Tally, catalog: Catalog, by: Dimension) -> Counter[str]:
    if by == "user":
        return tally.users
    if by == "intent":
        return tally.intents
    counts = Counter[str]()
    for key, found in tally.flows.items():
        flow = catalog.flows.get(key)
        counts[key if by == "flow" else flow.domain if flow else FORMER] += found.queries()
    return counts
