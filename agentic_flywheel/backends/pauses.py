"""Read for how long a server asks to be left alone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from agentic_flywheel.errors import RETRY_RATE_LIMIT
from agentic_flywheel.pause_headers import seconds_of, seconds_until

#: Seconds. A server that asks for a longer pause is not believed.
MAX_RETRY_AFTER = 3600.0

#: A proxy of LiteLLM passes on what it was told under names that begin so.
_PASSED_ON = "llm_provider-"


def seconds_to_wait(retry_after: str | None) -> float:
    """Return the seconds of a ``Retry-After`` header, which may be a duration or a date; the usual hint of neither."""
    seconds = None if retry_after is None else seconds_until(retry_after, datetime.now(UTC))
    return RETRY_RATE_LIMIT if seconds is None else _within_bounds(seconds)


def _within_bounds(seconds: float) -> float:
    # Nought would mean: never. A server that asks for too little is left alone for longer each time that it refuses a
    # call again: `call_refused` in admission.lua.
    return min(max(seconds, 1.0), MAX_RETRY_AFTER)


def pause_of_refusal(headers: Mapping[str, str]) -> float:
    """Return the seconds for which a 429 asks to be left alone: as it says, or until the limit that is used up resets.

    ``headers``: with names in any case. The usual hint where it says nothing.
    """
    milliseconds = seconds_of(_header(headers, "retry-after-ms"))
    if milliseconds is not None:
        return _within_bounds(milliseconds / 1000)
    if (after := _header(headers, "retry-after")) is not None:
        return seconds_to_wait(after)
    resets = [reset for kind in ("requests", "tokens") if (reset := _reset(headers, kind)) is not None]
    return _within_bounds(max(resets)) if resets else RETRY_RATE_LIMIT


def pause_of_answer(headers: Mapping[str, str]) -> timedelta:
    """Return for how long an answer asks not to be followed by another call; nothing where calls are left.

    A limit of requests fills up little by little until its reset: the next one is there after its share of that time.
    """
    reset, told = _reset(headers, "requests"), _header(headers, "x-ratelimit-limit-requests")
    limit = 1.0 if told is None else seconds_of(told)
    # Azure has sent limits of 0 and -1 with an answer: a limit that lets nothing through is none.
    if reset is None or not limit:
        return timedelta()
    return timedelta(seconds=min(reset / max(limit, 1.0), MAX_RETRY_AFTER))


def _reset(headers: Mapping[str, str], kind: str) -> float | None:
    """Return the seconds until a limit resets that is used up; None where it is not, or nobody says."""
    left = _header(headers, f"x-ratelimit-remaining-{kind}")
    # Azure has sent -1.
    return seconds_of(_header(headers, f"x-ratelimit-reset-{kind}")) if left in ("0", "-1") else None


def _header(headers: Mapping[str, str], name: str) -> str | None:
    found = headers.get(name)
    return headers.get(_PASSED_ON + name) if found is None else found
