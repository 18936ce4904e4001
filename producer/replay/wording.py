"""Write figures for people: shares, durations, ratios, counts."""

from __future__ import annotations

from collections.abc import Callable

from producer.replay.statistics import Estimate


def count(n: int, noun: str = "") -> str:
    """Return ``2,000 questions``: a number and its noun, which gets its s."""
    if not noun:
        return f"{n:,}"
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def percent(share: float) -> str:
    """Return a share as per cent, with as many digits as it has sense for."""
    value = share * 100
    if value == 0 or abs(value) >= 10:
        return f"{value:.0f} %" if value in (0, 100) else f"{value:.1f} %"
    return f"{value:.2f} %" if abs(value) < 1 else f"{value:.1f} %"


def duration(milliseconds: float) -> str:
    """Return a duration with the unit that fits it."""
    if milliseconds < 10:
        return f"{milliseconds:.1f} ms"
    if milliseconds < 999.5:
        return f"{milliseconds:.0f} ms"
    if milliseconds < 120_000:
        return f"{milliseconds / 1_000:.3g} s"
    if milliseconds < 7_200_000:
        return f"{milliseconds / 60_000:.3g} min"
    return f"{milliseconds / 3_600_000:.3g} h"


def times(ratio: float) -> str:
    """Return a ratio as a change: ``+18 %``, ``−5.0 %``; beyond a doubling as ``× 3.4``."""
    if ratio >= 3:
        return f"× {ratio:.3g}"
    return signed(ratio - 1)


def signed(share: float) -> str:
    """Return a difference of shares with its sign."""
    value = share * 100
    digits = 0 if abs(value) >= 10 else 1
    shown = f"{abs(value):.{digits}f} %"
    return shown if not float(f"{value:.{digits}f}") else f"{'+' if value > 0 else '−'}{shown}"


def between(estimate: Estimate, wording: Callable[[float], str]) -> str:
    """Return the interval in words, each end as ``wording`` says it."""
    return f"{wording(estimate.low)} to {wording(estimate.high)}"
