"""Threads for tasks that are plain functions, and for what a worker does at once and waits for."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

logger = logging.getLogger(__name__)

#: Most calls that are made at once.
_AT_ONCE = 64


def at_once(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Make all calls, each in a thread of its own, and return what they return. Raises the first error of them.

    It waits until all have ended, also where one has failed.
    """
    with ThreadPoolExecutor(min(len(calls), _AT_ONCE), "at-once") as threads:
        made = [threads.submit(call) for call in calls]
    return [each.result() for each in made]


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
