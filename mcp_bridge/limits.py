"""How often an owner may call, and how much of one may be open at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from agentic_flywheel.errors import TooManyCalls, TooManyOpen

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


class Open:
    """What of each owner is open now."""

    def __init__(self, what: str, most: int) -> None:
        """``most``: of one owner at once."""
        self._what, self._most = what, most
        self._open: Counter[str] = Counter()

    @contextmanager
    def one_more(self, owner: str) -> Iterator[None]:
        """Count one during the block. Raises TooManyOpen where it is one too many."""
        if self._open[owner] >= self._most:
            raise TooManyOpen(owner, self._what, self._most)
        self._open[owner] += 1
        try:
            yield
        finally:
            self._open[owner] -= 1
            if not self._open[owner]:
                del self._open[owner]
