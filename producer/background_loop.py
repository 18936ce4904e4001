"""An event loop in a thread of its own, for callers without one. It refuses green threads, on which it cannot run."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from typing import Any, TypeVar

from agentic_flywheel.errors import GreenThreads, ProducerClosed
from agentic_flywheel.forks import mind

T = TypeVar("T")

#: Seconds between two looks whether the thread is still there.
_LOOK = 1.0
#: Seconds to wait for the thread's end.
_END = 2.0


class BackgroundLoop:
    """Runs coroutines for any thread. The thread starts with the first of them."""

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the coroutine's result. Raises what it raises; ProducerClosed when the loop ends before it."""
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._started())
        except RuntimeError:  # the loop is closed
            work.close()
            raise ProducerClosed from None
        try:
            while True:
                try:
                    return future.result(_LOOK)
                except TimeoutError:
                    if future.done():
                        return future.result()
                    if self._thread is None or not self._thread.is_alive():
                        raise ProducerClosed from None
        except CancelledError:
            raise ProducerClosed from None
        except BaseException:  # such as Ctrl-C in this thread
            future.cancel()
            raise

    def stop(self) -> None:
        """End the loop and its thread, for two seconds at most. What runs is cancelled."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None or loop.is_closed():
            return
        loop.call_soon_threadsafe(loop.stop)
        # The garbage collector may call this, on any thread.
        if thread is not threading.current_thread():
            thread.join(_END)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                refuse_green_threads()
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_serve, args=(self._loop,), name="producer", daemon=True)
                self._thread.start()
            return self._loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    mind(loop)
    try:
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def refuse_green_threads() -> None:
    """Raise GreenThreads where gevent or eventlet has replaced what the loop's thread needs.

    With green threads a second producer finds the first one's loop running in its own thread; with real threads and
    green selectors the loop ends at its first wait (gevent 26.9).
    """
    gevent = sys.modules.get("gevent.monkey")
    if gevent is not None and any(map(gevent.is_module_patched, ("threading", "select"))):
        raise GreenThreads("gevent")
    eventlet = sys.modules.get("eventlet.patcher")
    if eventlet is not None and eventlet.is_monkey_patched("thread"):
        raise GreenThreads("eventlet")
