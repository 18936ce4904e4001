"""The figures that ended queries leave behind, hour by hour, read and added up. ``lua/tally.lua`` writes them."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from agentic_flywheel import wire
from agentic_flywheel.batch import Batch

HOUR = timedelta(hours=1)
#: Hours that are kept.
KEPT = timedelta(days=14)
#: Octave of a latency: quarters of a power of two milliseconds.
STEPS = 4

Histogram = Counter[int]


@dataclass(frozen=True)
class FlowTally:
    """What queries of one flow left."""

    #: Latencies in octaves, by outcome: cached, attached, succeeded, failed, cancelled, expired.
    latencies: dict[str, Histogram] = field(default_factory=dict)
    waits: Histogram = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    score_sum: float = 0.0
    score_count: int = 0

    def queries(self, *outcomes: str) -> int:
        """Return how many queries ended, with these outcomes or with any."""
        chosen = outcomes or tuple(self.latencies)
        return sum(self.latencies[each].total() for each in chosen if each in self.latencies)


@dataclass(frozen=True)
class Tally:
    """The figures of some hours."""

    flows: dict[str, FlowTally]
    users: Counter[str]
    intents: Counter[str]


def hour_of(moment: datetime) -> int:
    return int(moment.timestamp() // 3600)


def start_of(hour: int) -> datetime:
    return datetime.fromtimestamp(hour * 3600, UTC)


async def read_hours(batch: Batch, hours: Iterable[int]) -> dict[int, dict[str, int]]:
    """Return the raw figures of hours. Raises BrokerUnavailable."""
    wanted = list(hours)
    found = await asyncio.gather(*(batch.call("HGETALL", wire.tally_key(hour)) for hour in wanted))
    return {
        hour: {name: int(value) for name, value in fields.items()} for hour, fields in zip(wanted, found, strict=True)
    }


def add_up(hours: Iterable[Mapping[str, int]]) -> Tally:
    """Return the figures of several hours together."""
    together: Counter[str] = Counter()
    for fields in hours:
        together.update(fields)
    flows: dict[str, FlowTally] = {}
    users, intents = Counter[str](), Counter[str]()
    names = {"u": users, "i": intents}
    sums, counts = Counter[str](), Counter[str]()
    for name, number in together.items():
        kind, _, rest = name.partition("|")
        if kind in names:
            names[kind][rest] += number
        elif kind == "s":
            sums[rest] += number
        elif kind == "n":
            counts[rest] += number
        elif kind in ("q", "w", "e"):
            flow, *details = rest.split("|")
            _count(flows.setdefault(flow, FlowTally()), kind, details, number)
    for flow in counts:
        one = flows.get(flow, FlowTally())
        flows[flow] = FlowTally(one.latencies, one.waits, one.errors, sums[flow] / 10, counts[flow])
    return Tally(flows, users, intents)


def _count(flow: FlowTally, kind: str, details: list[str], number: int) -> None:
    if kind == "q":
        outcome, octave = details
        flow.latencies.setdefault(outcome, Counter())[int(octave)] += number
    elif kind == "w":
        flow.waits[int(details[0])] += number
    else:
        flow.errors[details[0]] += number


def percentile(histogram: Histogram, share: float) -> timedelta | None:
    """Return the latency that this share of queries, 0..1, did not exceed; exact to a tenth. None without any."""
    left = share * histogram.total()
    for octave in sorted(histogram):
        left -= histogram[octave]
        if left <= 0:
            return timedelta(seconds=middle(octave))
    return None


def middle(octave: int) -> float:
    """Return the middle latency of an octave, in seconds: within 9.1 % of any in it."""
    return math.pow(2, (octave + 0.5) / STEPS) / 1000


def upper_bound(octave: int) -> float:
    """Return the longest latency of an octave, in seconds."""
    return math.pow(2, (octave + 1) / STEPS) / 1000
