"""The file that tells others, a container's health check above all, that a worker takes queries."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from celery import signals


class Readiness:
    """A file that is touched while the worker takes queries and its broker answers, and goes with the worker.

    A worker that was killed, hangs or has lost its broker touches it no more: what counts is the file's age, in
    seconds, against ``FRESH``.
    """

    #: Above this age the worker is not well. Its sweep touches the file every two seconds at most.
    FRESH = 15

    def __init__(self) -> None:
        self.file: Path | None = None
        self._takes_queries = False
        signals.worker_ready.connect(self._begin, weak=False)
        signals.worker_shutting_down.connect(self._end, weak=False)

    def broker_answered(self) -> None:
        """Touch the file. Called again and again while the broker answers; does nothing before the worker is ready."""
        if self.file is not None and self._takes_queries:
            with suppress(OSError):  # a full disk: the file gets old, and that is what it is for
                self.file.touch()

    def _begin(self, **_: Any) -> None:
        self._takes_queries = True
        self.broker_answered()

    def _end(self, **_: Any) -> None:
        self._takes_queries = False
        if self.file is not None:
            with suppress(OSError):
                self.file.unlink(missing_ok=True)
