"""Moments and spans of time as a person reads them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def when(moment: datetime) -> str:
    """Return a moment as a clock here shows it."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def age(moment: datetime) -> str:
    """Return how long ago a moment was, in its largest unit."""
    return _in_largest_unit(datetime.now(UTC) - moment)


def time_left(moment: datetime) -> str:
    """Return how long it is until a moment, in its largest unit."""
    return _in_largest_unit(moment - datetime.now(UTC))


def _in_largest_unit(span: timedelta) -> str:
    seconds = max(0, int(span.total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
