"""Read for how long a server asks to be left alone."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from agentic_flywheel.errors import RETRY_RATE_LIMIT

#: Seconds. A server that asks for a longer pause is not believed.
MAX_RETRY_AFTER = 3600.0


def seconds_to_wait(retry_after: str | None) -> float:
    """Return the seconds of a ``Retry-After`` header, which may be a number or a date; the usual hint without one."""
    if retry_after is None:
        return RETRY_RATE_LIMIT
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            until = parsedate_to_datetime(retry_after)
        except ValueError:
            return RETRY_RATE_LIMIT
        if until.tzinfo is None:
            until = until.replace(tzinfo=UTC)
        seconds = (until - datetime.now(UTC)).total_seconds()
    if seconds != seconds:
        return RETRY_RATE_LIMIT
    # Nought would mean: never.
    return min(max(seconds, 1.0), MAX_RETRY_AFTER)
