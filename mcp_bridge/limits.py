"""How often an owner may call: a bucket of calls for each, refilled at a steady rate."""

from __future__ import annotations

from agentic_flywheel.errors import TooManyCalls

#: So many seconds' worth of calls may come at once.
BURST = 2.0


class Bucket:
    """The calls that one owner has left."""

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._size = max(1.0, rate * BURST)
        self._left = self._size
        self._at = now

    def take(self, now: float) -> float:
        """Take one call. Returns 0, or the seconds until there is one."""
        self._left = min(self._size, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left >= 1:
            self._left -= 1
            return 0.0
        return (1 - self._left) / self._rate


class Rates:
    """The buckets of all owners."""

    def __init__(self, rate: float) -> None:
        """``rate``: calls per second of one owner."""
        self._rate = rate
        self._buckets: dict[str, Bucket] = {}

    def refusal(self, owner: str, now: float) -> TooManyCalls | None:
        """Count one call at ``now`` (seconds of a steady clock). Returns the error where it is one too many."""
        seconds = self._buckets.setdefault(owner, Bucket(self._rate, now)).take(now)
        return TooManyCalls(owner, self._rate, round(seconds, 3)) if seconds else None
