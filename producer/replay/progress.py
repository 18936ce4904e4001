"""The progress of a replay: done, failed, rate, time left."""

from __future__ import annotations

import time
from collections import Counter, deque
from datetime import timedelta
from typing import Any

from agentic_flywheel.models import State
from producer.replay.results import ItemResult

#: The rate is that of the last seconds.
_WINDOW = 10.0


class Progress:
    """Counts results. ``total`` is the number of items, those of earlier processes included."""

    def __init__(self, total: int) -> None:
        self.total = total
        #: Results, among them those of earlier processes of the same replay.
        self.done = 0
        self.before = 0
        self.failed = 0
        self.cached = 0
        self.calls = 0
        self.domains: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self._began = time.monotonic()
        #: When, and how many were done then.
        self._lately: deque[tuple[float, int]] = deque()

    def found(self, fields: dict[str, Any]) -> None:
        """Count a result of an earlier process, given as the plain values of its line."""
        outcome = fields.get("outcome", {})
        self.before += 1
        self._count(
            outcome.get("state", State.SUCCEEDED),
            outcome.get("domains") or (),
            outcome.get("error_type"),
            cached=bool(outcome.get("cached")),
            calls=fields.get("calls", 0),
        )

    def add(self, result: ItemResult) -> None:
        """Count a result."""
        outcome = result.outcome
        self._count(outcome.state, outcome.domains, outcome.error_type, cached=outcome.cached, calls=result.calls)
        now = time.monotonic()
        if not self._lately or now - self._lately[-1][0] > 0.25:
            self._lately.append((now, self.done))
            while now - self._lately[0][0] > _WINDOW:
                self._lately.popleft()

    @property
    def rate(self) -> float:
        """Results per second lately."""
        if not self._lately:
            return 0.0
        now = time.monotonic()
        then, done = self._lately[0] if len(self._lately) > 1 else (self._began, self.before)
        return (self.done - done) / max(now - then, 0.001)

    @property
    def left(self) -> timedelta | None:
        """How long it will take at this rate; None where there is none yet."""
        rate = self.rate
        return timedelta(seconds=round((self.total - self.done) / rate)) if rate else None

    def _count(self, state: str, domains: Any, error_type: str | None, *, cached: bool, calls: int) -> None:
        self.done += 1
        self.calls += calls
        self.cached += cached
        self.domains[" + ".join(domains) or "(none)"] += 1
        if state not in (State.SUCCEEDED, "classified"):
            self.failed += 1
            self.failures[error_type or state] += 1
