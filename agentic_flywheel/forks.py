"""A fork finds nothing half done: it waits until the threads of ours stand between two steps.

A forked child has only the thread that forked. What another thread held at that moment stays closed in it for ever: the
lock of a module that was being imported, that of a value that was being made.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref

#: Seconds for which a fork waits for a loop that does not come to its next step.
_PATIENCE = 5.0

#: Held by threads without an event loop while they import or make something.
preparing = threading.RLock()

_threads: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, int] = weakref.WeakKeyDictionary()


class _Pause:
    """Holds every known loop of another thread between two of its steps."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._standing = threading.Semaphore(0)

    def begin(self) -> None:
        here = threading.get_ident()
        asked = 0
        for loop, thread in list(_threads.items()):
            if thread == here or not loop.is_running():
                continue
            try:
                loop.call_soon_threadsafe(self._stand)
            except RuntimeError:
                continue  # it has just been closed
            asked += 1
        until = time.monotonic() + _PATIENCE
        for _ in range(asked):
            self._standing.acquire(timeout=max(0.0, until - time.monotonic()))

    def end(self) -> None:
        self._over.set()

    def _stand(self) -> None:
        self._standing.release()
        self._over.wait()


_pauses: list[_Pause] = []


def mind(loop: asyncio.AbstractEventLoop) -> None:
    """Have forks wait for this loop. Call it in the loop's thread."""
    _threads[loop] = threading.get_ident()


def _before() -> None:
    preparing.acquire()
    _pauses.append(_Pause())
    _pauses[-1].begin()


def _in_parent() -> None:
    _pauses.pop().end()
    preparing.release()


def _in_child() -> None:
    _pauses.clear()
    _threads.clear()
    preparing.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
