"""How many requests this process was sent, and how many are open now, for Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


@dataclass(slots=True)
class CountedRequest:
    """A request that is being served."""

    #: 0 until its response begins, and where it never does: the client went away.
    status: int = 0


class Traffic(Collector):
    """Counts the requests of one process."""

    def __init__(self) -> None:
        self._ended: Counter[tuple[str, int]] = Counter()
        self._open: Counter[str] = Counter()

    @contextmanager
    def request(self, surface: str) -> Iterator[CountedRequest]:
        """Count a request during the block."""
        counted = CountedRequest()
        self._open[surface] += 1
        try:
            yield counted
        finally:
            self._open[surface] -= 1
            self._ended[surface, counted.status] += 1

    def collect(self) -> Iterator[Metric]:
        """Yield the requests that ended, by API and status, and those that are open, streams included."""
        ended = CounterMetricFamily(
            "flywheel_http_requests", "HTTP requests that ended, by API and status.", labels=["api", "status"]
        )
        for (surface, status), number in sorted(self._ended.items()):
            ended.add_metric([surface, str(status)], number)
        opened = GaugeMetricFamily("flywheel_http_open", "HTTP requests and streams that are open.", labels=["api"])
        for surface, number in sorted(self._open.items()):
            opened.add_metric([surface], number)
        yield ended
        yield opened
