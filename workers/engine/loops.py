"""The asyncio loop of a worker's tasks, and what is to be opened before its first task and closed after its last.

The loop has a thread of its own, which lends it out: while a worker is connected, its hub runs the loop between two of
its own turns, in its own thread, so that no task waits for one thread to wake the other. Whatever blocks the hub for
long, such as a broker that is away, it does with the loop given back, and the tasks go on.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from celery.exceptions import WorkerShutdown, WorkerTerminate

try:
    import uvloop
except ImportError:  # not on this platform
    uvloop = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

T = TypeVar("T")
Hook = Callable[[], Awaitable[None]]

#: Seconds that cancelled tasks have to clean up, and then each closing hook to close, before the loop ends anyway.
CLOSING_TIME = 3.0

_opening: list[Hook] = []
_closing: list[Hook] = []


def on_loop_start(hook: Hook) -> Hook:
    """Have ``hook`` awaited on the loop before its first task: for what belongs to a loop, such as HTTP sessions."""
    _opening.append(hook)
    return hook


def on_loop_shutdown(hook: Hook) -> Hook:
    """Have ``hook`` awaited on the loop after its last task."""
    _closing.append(hook)
    return hook


def in_event_loop() -> bool:
    """Return whether the caller runs inside an asyncio loop, where nothing may block."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class LoopThread:
    """An asyncio loop (uvloop where it is installed) that runs in its own thread from ``start`` to ``stop``."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.new_event_loop() if uvloop is None else uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="tasks", daemon=True)
        self._ending = False
        #: The thread that has borrowed the loop.
        self._borrower: int | None = None
        self._lent, self._returned = threading.Event(), threading.Event()

    def start(self) -> None:
        """Start the thread and await the opening hooks; what one of them raises is raised here."""
        self._thread.start()
        self.submit(_open()).result()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run a coroutine in the caller's context, so that it sees the caller's task and request."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        if self.is_borrowed_here:  # nobody else would run it
            future.add_done_callback(lambda _: self.loop.stop())
            while not future.done():
                self._run_once()
        return future

    def call_soon(self, call: Callable[[], object]) -> None:
        """Have something called on the loop, from any thread."""
        if self.is_borrowed_here:
            self.loop.call_soon(call)
        else:
            self.loop.call_soon_threadsafe(call)

    def stop(self) -> None:
        """Cancel what still runs, await the closing hooks, end the thread."""
        if not self._thread.is_alive():
            return
        try:
            self.submit(_close()).result(CLOSING_TIME * (2 + len(_closing)))
        except Exception:
            logger.exception("the task loop did not close in order")
        self._ending = True
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(CLOSING_TIME)

    # Lending

    @contextmanager
    def borrowed(self) -> Iterator[None]:
        """Have the loop run by the caller's thread alone, in ``run_for``, instead of by its own."""
        self._lent.clear()
        self._returned.clear()
        self._borrower = threading.get_ident()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._lent.wait()
        try:
            yield
        finally:
            self._borrower = None
            self._returned.set()

    @property
    def is_borrowed_here(self) -> bool:
        return self._borrower == threading.get_ident()

    def run_for(self, seconds: float) -> None:
        """Run the borrowed loop until somebody calls ``pause``, at most for so long; 0: only what is ready."""
        if seconds <= 0:
            self.loop.call_soon(self.loop.stop)
            self._run_once()
            return
        limit = self.loop.call_later(seconds, self.loop.stop)
        self._run_once()
        limit.cancel()

    def pause(self) -> None:
        """Let the borrower have its turn once the loop has run what is ready. For any thread."""
        if self.is_borrowed_here:
            self.loop.stop()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        while not self._ending:
            if self._borrower is not None:
                self._lent.set()
                self._returned.wait()
            self._run_once()
        self.loop.close()

    def _run_once(self) -> None:
        try:
            self.loop.run_forever()
        except (WorkerShutdown, WorkerTerminate):  # raised by a signal in the borrower's thread
            raise
        except (SystemExit, KeyboardInterrupt):  # asyncio lets these out of a task: they end the task, not us
            logger.warning("a task called for the end of the process; only the task ends")


async def _open() -> None:
    for hook in _opening:
        await hook()


async def _close() -> None:
    running = asyncio.all_tasks() - {asyncio.current_task()}
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running, timeout=CLOSING_TIME)
    for hook in reversed(_closing):
        try:
            await asyncio.wait_for(hook(), CLOSING_TIME)
        except Exception:
            logger.exception("%r failed while the task loop closed", hook)
    await asyncio.get_running_loop().shutdown_asyncgens()


class _Shared:
    """The loop of processes whose pool has none: plain threads, tests that call a task directly."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: LoopThread | None = None

    def get(self) -> LoopThread:
        with self._lock:
            if self._thread is None:
                self._thread = LoopThread()
                self._thread.start()
            return self._thread

    def pause(self) -> None:
        """Let the hub have its turn, if it is it that runs the loop."""
        if self._thread is not None:
            self._thread.pause()

    def stop(self) -> None:
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop()


shared_loop = _Shared()
