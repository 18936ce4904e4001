"""Confidence intervals for shares and paired differences, and the smallest samples that allow a statement."""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from agentic_flywheel.models import Model

Numbers = npt.NDArray[np.float64]
#: Reduces rows of samples (the last axis) to one number a row.
Statistic = Callable[[Any], Any]

#: The normal quantile of a two-sided interval of 95 %.
_Z = 1.959963984540054
#: Fewer pairs than this say nothing about a latency or a similarity.
FEW = 20
_RESAMPLES = 1000
#: Numbers drawn at once: bounds the memory of a bootstrap to some megabytes.
_BATCH = 2_000_000


class Finding(StrEnum):
    """The conclusion from a sample about a difference."""

    LOWER = "lower"
    HIGHER = "higher"
    #: Any difference is within the margin that matters.
    SAME = "same"
    #: The interval holds both "no difference" and one that matters.
    UNCLEAR = "unclear"
    #: Too few pairs to say anything.
    TOO_FEW = "too few"


class Estimate(Model):
    """A figure with its interval of 95 %, and the number of cases that it rests on."""

    value: float
    low: float
    high: float
    n: int

    def finding(self, *, null: float, margin: float) -> Finding:
        """Compare with ``null``, "no difference"; a difference up to ``margin`` does not matter.

        "Same" is the equivalence test by inclusion of the interval (Schuirmann, J. Pharmacokinet. Biopharm. 15, 1987):
        not having shown a difference is no proof that there is none.
        """
        if self.n < FEW:
            return Finding.TOO_FEW
        if self.low >= null - margin and self.high <= null + margin:
            return Finding.SAME
        if self.high < null:
            return Finding.LOWER
        if self.low > null:
            return Finding.HIGHER
        return Finding.UNCLEAR


def share(hits: int, n: int) -> Estimate | None:
    """Return ``hits / n`` with Wilson's score interval; None of none.

    It stays within 0..1 and holds where no hit was seen (E. B. Wilson, JASA 22, 1927; recommended by Brown, Cai and
    DasGupta, Statistical Science 16, 2001).
    """
    if not n:
        return None
    p = hits / n
    spread = 1 + _Z**2 / n
    centre = (p + _Z**2 / (2 * n)) / spread
    half = _Z * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2)) / spread
    low = 0.0 if hits == 0 else max(0.0, centre - half)
    high = 1.0 if hits == n else min(1.0, centre + half)
    return Estimate(value=p, low=low, high=high, n=n)


def share_change(gained: int, lost: int, n: int) -> Estimate | None:
    """Return how much a share rose between two answers to the same ``n`` questions.

    ``gained`` questions have the property only after, ``lost`` only before; the others tell nothing. The interval is
    Bonett and Price's adjusted Wald interval for paired proportions (J. Educ. Behav. Stat. 37, 2012).
    """
    if not n:
        return None
    up, down = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    half = _Z * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    return Estimate(value=(gained - lost) / n, low=max(-1.0, up - down - half), high=min(1.0, up - down + half), n=n)


def mcnemar(gained: int, lost: int) -> float:
    """Return the exact two-sided p-value that a share did not change.

    Of the questions that changed, as many should have gained as lost (Q. McNemar, Psychometrika 12, 1947; the exact
    binomial form, since the approximation by chi squared fails below some 25 changes).
    """
    n = gained + lost
    if not n:
        return 1.0
    logs = [_log_binomial(n, k) for k in range(min(gained, lost) + 1)]
    top = max(logs)
    tail = math.exp(top) * math.fsum(math.exp(each - top) for each in logs)
    return min(1.0, 2 * tail)


def _log_binomial(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2)


def mean(values: Numbers, *, seed: int = 0) -> Estimate | None:
    """Return the mean, with a bootstrap interval. None of nothing."""
    if not len(values):
        return None
    low, high = _bootstrap(lambda drawn: values[drawn].mean(axis=-1), len(values), seed)
    return Estimate(value=float(values.mean()), low=low, high=high, n=len(values))


def ratio(before: Numbers, after: Numbers, statistic: Statistic, *, seed: int = 0) -> Estimate | None:
    """Return ``statistic(after) / statistic(before)`` of pairs. None where there is nothing to divide by.

    The interval is the percentile interval of a paired bootstrap: questions are drawn, each with both its values, so a
    slow question that is slow both times widens nothing (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
    chapters 8 and 13). The seed is fixed: the same results give the same report.
    """
    if not len(before) or not (below := float(statistic(before))):
        return None

    def resampled(drawn: npt.NDArray[np.int64]) -> Any:
        with np.errstate(divide="ignore", invalid="ignore"):
            return statistic(after[drawn]) / statistic(before[drawn])

    low, high = _bootstrap(resampled, len(before), seed)
    return Estimate(value=float(statistic(after)) / below, low=low, high=high, n=len(before))


def quantile(q: float) -> Statistic:
    """Return the statistic that gives the ``q`` quantile, as numpy's default (linear) interpolation does."""
    return lambda values: np.quantile(values, q, axis=-1)


def average(values: Any) -> Any:
    """Return the mean of each row: a statistic for ``ratio``."""
    return np.mean(values, axis=-1)


def _bootstrap(resampled: Statistic, n: int, seed: int) -> tuple[float, float]:
    random = np.random.default_rng(seed)
    at_once = max(1, _BATCH // n)
    found = []
    for start in range(0, _RESAMPLES, at_once):
        rows = min(at_once, _RESAMPLES - start)
        found.append(np.atleast_1d(resampled(random.integers(0, n, (rows, n)))))
    all_found = np.concatenate(found)
    finite = all_found[np.isfinite(all_found)]
    if not len(finite):
        return math.nan, math.nan
    low, high = np.quantile(finite, [0.025, 0.975])
    return float(low), float(high)
