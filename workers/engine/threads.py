"""A few threads for tasks that are plain functions."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable


class DaemonThreads:
    """Runs calls in at most ``size`` threads. Daemons, so that a call without end does not keep the process."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def submit(self, call: Callable[[], None]) -> None:
        """Run ``call``, which must not raise, as soon as a thread is free."""
        self._calls.put(call)
        if len(self._threads) < self._size:
            thread = threading.Thread(target=self._run, name=f"plain-task-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self) -> None:
        while True:
            self._calls.get()()
