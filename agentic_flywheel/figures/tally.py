"""Read and add up the hourly counters of ended queries. ``broker/lua/shared/tally.lua`` writes them.

Latencies are counted in octaves: ``STEPS`` octaves are one doubling. Octave n holds the latencies from 2**(n / STEPS)
to 2**((n + 1) / STEPS) milliseconds.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.stored import counts_in
from agentic_flywheel.models import HowEnded

HOUR = timedelta(hours=1)
#: How long the counters of an hour are kept in Redis.
KEPT = timedelta(days=14)
#: Number of octaves in one doubling of a latency.
STEPS = 4

Histogram = Counter[int]


@dataclass(frozen=True)
class FlowTally:
    """The counters of one flow, of the questions that it was asked. Histograms count latencies by octave."""

    #: From acceptance to end, by outcome: cached, attached, succeeded, fallen_back, refused, failed, cancelled,
    #: expired.
    latencies: dict[str, Histogram] = field(default_factory=dict)
    #: From acceptance to the call of the flow.
    waits: Histogram = field(default_factory=Counter)
    #: By error class: of queries that failed, and of calls after which the flow's fallback was asked.
    errors: Counter[str] = field(default_factory=Counter)
    #: Answers that it gave in place of another flow.
    stood_in: int = 0
    score_sum: float = 0.0
    score_count: int = 0

    def queries(self, *outcomes: str) -> int:
        """Return the number of queries that ended with one of these outcomes; without arguments, with any.

        What was refused because its owner was at a limit is only counted where it is named: the flow was not asked.
        """
        chosen = outcomes or self.latencies.keys() - {HowEnded.REFUSED}
        return sum(self.latencies[each].total() for each in chosen if each in self.latencies)


@dataclass(frozen=True)
class Tally:
    """The counters of several hours, added up: by flow; queries by user and by intent."""

    flows: dict[str, FlowTally]
    users: Counter[str]
    intents: Counter[str]


def hour_of(moment: datetime) -> int:
    """Return the number of full hours since 1970: the name under which an hour's counters are kept."""
    return int(moment.timestamp() // 3600)


def start_of(hour: int) -> datetime:
    """Return when an hour begins, in UTC."""
    return datetime.fromtimestamp(hour * 3600, UTC)


async def read_hours(batch: Batch, hours: Iterable[int]) -> dict[int, dict[str, int]]:
    """Return the raw counters of each hour, by their names in Redis. Raises BrokerUnavailable."""
    wanted = list(hours)
    found = await asyncio.gather(*(batch.call("HGETALL", wire.tally_key(hour)) for hour in wanted))
    return {hour: counts_in(fields) for hour, fields in zip(wanted, found, strict=True)}


def add_up(hours: Iterable[Mapping[str, int]]) -> Tally:
    """Return the sum of the raw counters of several hours."""
    together: Counter[str] = Counter()
    for fields in hours:
        together.update(fields)
    flows: dict[str, FlowTally] = {}
    users, intents = Counter[str](), Counter[str]()
    names = {"u": users, "i": intents}
    sums, counts, stood_in = Counter[str](), Counter[str](), Counter[str]()
    numbers = {"s": sums, "n": counts, "b": stood_in}
    for name, number in together.items():
        kind, _, rest = name.partition("|")
        if kind in names:
            names[kind][rest] += number
        elif kind in numbers:
            numbers[kind][rest] += number
        elif kind in ("q", "w", "e"):
            flow, *details = rest.split("|")
            with suppress(IndexError, ValueError):  # a name that another program made up
                _count(flows.setdefault(flow, FlowTally()), kind, details, number)
    for flow in counts | stood_in:
        one = flows.get(flow, FlowTally())
        flows[flow] = FlowTally(one.latencies, one.waits, one.errors, stood_in[flow], sums[flow] / 10, counts[flow])
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
    """Return the latency that this share of queries, 0..1, did not exceed: exact to 9.1 %. None without queries."""
    left = share * histogram.total()
    for octave in sorted(histogram):
        left -= histogram[octave]
        if left <= 0:
            return timedelta(seconds=middle(octave))
    return None


def middle(octave: int) -> float:
    """Return the geometric middle of an octave, in seconds. No latency in the octave differs by more than 9.1 %."""
    return math.pow(2, (octave + 0.5) / STEPS) / 1000


def upper_bound(octave: int) -> float:
    """Return the longest latency of an octave, in seconds."""
    return math.pow(2, (octave + 1) / STEPS) / 1000
