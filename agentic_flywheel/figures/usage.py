"""Usage over days: how many queries by flow, domain, user or intent, each with its course over time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

from pydantic import AwareDatetime

from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.clock import broker_now
from agentic_flywheel.catalog import Catalog
from agentic_flywheel.figures.tally import (
    HOUR,
    KEPT,
    Payer,
    Spending,
    Tally,
    add_up,
    hour_of,
    read_hours,
    start_of,
)
from agentic_flywheel.models import Cost, HowEnded, Model, State

Dimension = Literal["flow", "domain", "user", "intent"]

#: Most steps in the course of a row. Where there are more hours, one step covers several.
MAX_STEPS = 56
_PAYERS: dict[Dimension, Payer] = {"flow": "f", "domain": "f", "user": "u", "intent": "i"}
#: Shown in place of a domain where a flow is no longer in the catalog.
FORMER = "(former)"
_BARS = "▁▂▃▄▅▆▇█"


class UsageRow(Model):
    """The queries of one flow, domain, user or intent."""

    name: str
    queries: int
    #: How those ended that a flow was asked, or the flows of a domain; None where rows are users or intents.
    answered: int | None = None
    fallen_back: int | None = None
    failed: int | None = None
    #: Share of all queries, 0..1.
    share: float
    per_hour: float
    #: What its calls cost, in each currency; and of how many calls that is not known.
    costs: tuple[Cost, ...] = ()
    cost_unknown: int = 0
    #: Queries per step, from the first to the last.
    course: tuple[int, ...]


class UsageTable(Model):
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
) -> UsageTable:
    """Return the usage of the last ``since``, at most 14 days; a row's course has at most ``steps`` steps.

    Raises BrokerUnavailable.
    """
    until = await broker_now(batch)
    hours = range(hour_of(until - min(since, KEPT)), hour_of(until) + 1)
    figures = await read_hours(batch, hours)
    return usage_of(
        {hour: add_up([fields]) for hour, fields in figures.items()}, catalog, by=by, until=until, steps=steps
    )


def usage_of(
    hours: Mapping[int, Tally], catalog: Catalog, *, by: Dimension, until: datetime, steps: int = MAX_STEPS
) -> UsageTable:
    """Return the usage in consecutive ``hours``. Pure: reads nothing."""
    first, last = min(hours), max(hours)
    width = math.ceil((last - first + 1) / steps)
    steps = math.ceil((last - first + 1) / width)
    courses: dict[str, list[int]] = {}
    ends: dict[str, Counter[str]] = {}
    spent: dict[str, Spending] = {}
    for hour, tally in hours.items():
        for name, number in _counts(tally, catalog, by).items():
            courses.setdefault(name, [0] * steps)[(hour - first) // width] += number
        for name, spending in tally.spending.get(_PAYERS[by], {}).items():
            row = _domain(name, catalog) if by == "domain" else name
            spent[row] = spent.get(row, Spending()) + spending
            courses.setdefault(row, [0] * steps)  # a flow that only answers in place of others has cost, too
        if by in ("flow", "domain"):
            for key, found in tally.flows.items():
                name = key if by == "flow" else _domain(key, catalog)
                ends.setdefault(name, Counter()).update(
                    answered=found.queries(State.SUCCEEDED, HowEnded.CACHED, HowEnded.ATTACHED),
                    fallen_back=found.queries(HowEnded.FALLEN_BACK),
                    failed=found.queries(State.FAILED, State.EXPIRED),
                )
    total = sum(map(sum, courses.values()))
    span = until - start_of(first)
    return UsageTable(
        by=by,
        since=start_of(first),
        until=until,
        step=width * HOUR,
        rows=tuple(
            UsageRow(
                name=name,
                queries=sum(course),
                **dict(ends.get(name, Counter[str]())),
                share=sum(course) / total if total else 0.0,
                per_hour=sum(course) / (span / HOUR),
                costs=spent.get(name, Spending()).costs(),
                cost_unknown=spent.get(name, Spending()).unknown,
                course=tuple(course),
            )
            for name, course in sorted(courses.items(), key=lambda row: (-sum(row[1]), row[0]))
        ),
    )


def sparkline(course: Sequence[int]) -> str:
    """Return a course as a line of bar characters, scaled to the highest value. A zero is a space."""
    highest = max(course, default=0)
    return "".join(" " if not each else _BARS[(each * len(_BARS) - 1) // highest] for each in course)


def _counts(tally: Tally, catalog: Catalog, by: Dimension) -> Counter[str]:
    if by == "user":
        return tally.users
    if by == "intent":
        return tally.intents
    counts = Counter[str]()
    for key, found in tally.flows.items():
        counts[key if by == "flow" else _domain(key, catalog)] += found.queries()
    return counts


def _domain(flow: str, catalog: Catalog) -> str:
    known = catalog.flows.get(flow)
    return known.domain if known else FORMER
