"""Threads for tasks that are plain functions."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)


class DaemonThreads:
    """Runs calls in at most ``size`` threads. They are daemons: a call that never ends does not keep the process."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._calls: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def submit(self, call: Callable[[], object]) -> None:
        """Run ``call`` as soon as a thread is free. What it raises is logged."""
        self._calls.put(call)
        if len(self._threads) < self._size:
            thread = threading.Thread(target=self._run, name=f"plain-task-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self) -> None:
        while True:
            call = self._calls.get()
            try:
                call()
            except BaseException:  # whatever a call raises, this thread is needed for the next one
                logger.exception("a call in a thread for plain tasks failed")
