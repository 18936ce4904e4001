"""Quantiles and ratios of a sample of pairs."""

from __future__ import annotations

import numpy as np

from producer.replay import statistics
from producer.replay.sampling import PairSample
from producer.replay.statistics import Numbers
from producer.replay.summary import Quantiles, Spread


def spread_of(sample: PairSample) -> Spread:
    """Return what a sample shows, of its pairs; where there are none, of all that is known after."""
    before, after = sample.pairs()
    if not len(before):
        return Spread(after=_quantiles(sample.after()))
    return Spread(
        pairs=len(before),
        before=_quantiles(before),
        after=_quantiles(after),
        mean_ratio=statistics.ratio(before, after, statistics.average),
        p50_ratio=statistics.ratio(before, after, statistics.quantile(0.5)),
        p95_ratio=statistics.ratio(before, after, statistics.quantile(0.95)),
    )


def _quantiles(values: Numbers) -> Quantiles | None:
    if not len(values):
        return None
    p50, p95, p99 = (round(float(each), 1) for each in np.quantile(values, [0.5, 0.95, 0.99]))
    return Quantiles(n=len(values), mean=round(float(values.mean()), 1), p50=p50, p95=p95, p99=p99)
