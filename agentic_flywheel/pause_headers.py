"""Read how long a header such as ``Retry-After`` asks to wait, whatever stands in it: other programs write it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 1e-6, "µs": 1e-6}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|h|m|s)")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
#: Seconds. A larger number is a point in time, of which nobody knows the unit.
_MOST = 1e7


def seconds_of(duration: str | None) -> float | None:
    """Return the seconds of a duration such as ``6m0s``, ``12ms`` or ``7``; None where it is none."""
    text = (duration or "").strip()
    if _NUMBER.fullmatch(text):
        return float(text) if float(text) < _MOST else None
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def seconds_until(header: str, now: datetime) -> float | None:
    """Return the seconds of a ``Retry-After``, a duration or a date, below 0 where that has passed; None of neither."""
    if (seconds := seconds_of(header.strip().removeprefix("-"))) is not None:
        return -seconds if header.strip().startswith("-") else seconds
    try:
        until = parsedate_to_datetime(header)
        return ((until if until.tzinfo else until.replace(tzinfo=UTC)) - now).total_seconds()
    except (ValueError, OverflowError):  # of a year with thirty digits
        return None
