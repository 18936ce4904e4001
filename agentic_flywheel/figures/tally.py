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
from typing import Literal, cast, get_args

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.stored import counts_in
from agentic_flywheel.models import HowEnded
from agentic_flywheel.prices import Cost

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
class Spending:
    """What calls cost: by currency, in billionths of its unit; and of how many it is not known."""

    parts: Counter[str] = field(default_factory=Counter)
    unknown: int = 0

    def __add__(self, other: Spending) -> Spending:
        parts = Counter(self.parts)
        parts.update(other.parts)  # unlike a sum, it keeps a currency in which nothing was paid
        return Spending(parts, self.unknown + other.unknown)

    def costs(self) -> tuple[Cost, ...]:
        """Return the sum in each currency; more than one where the registry's has changed."""
        return tuple(Cost.of_parts(parts, currency) for currency, parts in sorted(self.parts.items()))


#: Whose calls are added up: a flow's, an asker's, or those for an intent.
Payer = Literal["f", "u", "i"]


@dataclass(frozen=True)
class Tally:
    """The counters of several hours, added up: by flow; queries by user and by intent."""

    flows: dict[str, FlowTally]
    users: Counter[str]
    intents: Counter[str]
    spending: dict[Payer, dict[str, Spending]] = field(default_factory=dict)


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
    spending: dict[Payer, dict[str, Spending]] = {}
    for name, number in together.items():
        kind, _, rest = name.partition("|")
        if kind in names:
            names[kind][rest] += number
        elif kind in numbers:
            numbers[kind][rest] += number
        elif kind in ("c", "x"):
            currency, _, payer = rest.partition("|") if kind == "c" else ("", "", rest)
            _spend(spending, currency, payer, number)
        elif kind in ("q", "w", "e"):
            flow, *details = rest.split("|")
            with suppress(IndexError, ValueError):  # a name that another program made up
                _count(flows.setdefault(flow, FlowTally()), kind, details, number)
    for flow in counts | stood_in:
        one = flows.get(flow, FlowTally())
        flows[flow] = FlowTally(one.latencies, one.waits, one.errors, stood_in[flow], sums[flow] / 10, counts[flow])
    return Tally(flows, users, intents, spending)


def _count(flow: FlowTally, kind: str, details: list[str], number: int) -> None:
    if kind == "q":
        outcome, octave = details
        flow.latencies.setdefault(outcome, Counter())[int(octave)] += number
    elif kind == "w":
        flow.waits[int(details[0])] += number
    else:
        flow.errors[details[0]] += number


def _spend(spending: dict[Payer, dict[str, Spending]], currency: str, payer: str, number: int) -> None:
    """Add a counter of costs; without a ``currency``, of calls whose cost is not known."""
    kind, _, name = payer.partition("|")
    if kind not in get_args(Payer):
        return  # a name that another program made up
    names = spending.setdefault(cast(Payer, kind), {})
    more = Spending(Counter({currency: number})) if currency else Spending(unknown=number)
    names[name] = names.get(name, Spending()) + more


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
