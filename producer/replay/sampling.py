"""Bounded summaries of a stream of any length: a uniform sample of pairs, histograms, a timeline."""

from __future__ import annotations

import math
import random
from datetime import datetime

import numpy as np
import numpy.typing as npt

from agentic_flywheel.models import Model
from producer.replay.statistics import Numbers

#: Pairs kept for quantiles and intervals.
SAMPLE = 10_000
#: Bins of a duration: sixteen a decade, from a millisecond to a thousand seconds.
_A_DECADE = 16
BINS = 6 * _A_DECADE
_BUCKETS = 80


class PairSample:
    """A uniform sample of (before, after) pairs from a stream of any length (Vitter's algorithm R, ACM TOMS 11, 1985).

    A value that is not known is NaN. The seed is fixed: the same stream gives the same sample.
    """

    def __init__(self, capacity: int = SAMPLE) -> None:
        self._capacity = capacity
        self._rows: list[tuple[float, float]] = []
        self._random = random.Random(0)
        self.seen = 0

    def add(self, before: float | None, after: float | None) -> None:
        row = (math.nan if before is None else before, math.nan if after is None else after)
        self.seen += 1
        if len(self._rows) < self._capacity:
            self._rows.append(row)
        elif (place := self._random.randrange(self.seen)) < self._capacity:
            self._rows[place] = row

    def pairs(self) -> tuple[Numbers, Numbers]:
        """Return the values before and after, where both are known."""
        rows = self._array()
        both = rows[~np.isnan(rows).any(axis=1)]
        return both[:, 0], both[:, 1]

    def after(self) -> Numbers:
        """Return the values after, also those that have no counterpart."""
        rows = self._array()
        known: Numbers = rows[~np.isnan(rows[:, 1]), 1]
        return known

    def _array(self) -> Numbers:
        return np.array(self._rows, np.float64).reshape(-1, 2)


def bin_of(milliseconds: float) -> int:
    """Return the bin of a duration."""
    return min(BINS - 1, max(0, int(math.log10(max(milliseconds, 1e-9)) * _A_DECADE)))


def bin_start(place: float) -> float:
    """Return where a bin begins, in milliseconds."""
    return float(10.0 ** (place / _A_DECADE))


class Moment(Model):
    """What happened in one stretch of a replay."""

    #: Seconds since its start, and how many this one has.
    start: float
    seconds: float
    items: int
    failed: int
    rerouted: int
    p50_ms: float | None
    p95_ms: float | None


class Timeline:
    """Counts over time in at most 80 stretches of equal length. The stretches grow with the replay."""

    def __init__(self) -> None:
        self._start: float | None = None
        self._seconds = 0.25
        self._counts = np.zeros((_BUCKETS, 3), np.int64)
        self._latencies = np.zeros((_BUCKETS, BINS), np.int64)

    def add(self, at: datetime, *, failed: bool, rerouted: bool, latency_ms: float | None) -> None:
        moment = at.timestamp()
        if self._start is None:
            self._start = moment
        place = max(0, int((moment - self._start) / self._seconds))
        while place >= _BUCKETS:
            self._widen()
            place = int((moment - self._start) / self._seconds)
        self._counts[place] += (1, failed, rerouted)
        if latency_ms is not None:
            self._latencies[place, bin_of(latency_ms)] += 1

    def _widen(self) -> None:
        """Join each two stretches: the timeline covers twice the time."""
        for name in ("_counts", "_latencies"):
            old = getattr(self, name)
            joined = old[0::2] + old[1::2]
            setattr(self, name, np.concatenate([joined, np.zeros_like(joined)]))
        self._seconds *= 2

    def moments(self) -> tuple[Moment, ...]:
        """Return the stretches up to the last one in which anything ended."""
        used = np.flatnonzero(self._counts[:, 0])
        last = int(used[-1]) + 1 if len(used) else 0
        return tuple(self._moment(place) for place in range(last))

    def _moment(self, place: int) -> Moment:
        items, failed, rerouted = map(int, self._counts[place])
        return Moment(
            start=place * self._seconds,
            seconds=self._seconds,
            items=items,
            failed=failed,
            rerouted=rerouted,
            p50_ms=_quantile(self._latencies[place], 0.5),
            p95_ms=_quantile(self._latencies[place], 0.95),
        )


def _quantile(counts: npt.NDArray[np.int64], q: float) -> float | None:
    total = int(counts.sum())
    if not total:
        return None
    place = int(np.searchsorted(np.cumsum(counts), q * total))
    return round(bin_start(place + 0.5), 1)
