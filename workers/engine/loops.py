"""The asyncio loop that runs tasks, in a thread of its own, and the hooks that are awaited before and after them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

try:
    import uvloop
except ImportError:  # not on this platform
    uvloop = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

T = TypeVar("T")
Hook = Callable[[], Awaitable[None]]

#: Seconds that cancelled tasks have for their cleanup, and after that each closing hook, before the loop ends anyway.
CLOSING_TIME = 3.0
#: Seconds until the loop runs again after an error that asyncio did not catch.
AFTER_UNEXPECTED = 0.1

_opening: list[Hook] = []
_closing: list[Hook] = []


def on_loop_start(hook: Hook) -> Hook:
    """Have ``hook`` awaited on the loop before its first task, to open what belongs to a loop: HTTP sessions, say."""
    _opening.append(hook)
    return hook


def on_loop_shutdown(hook: Hook) -> Hook:
    """Have ``hook`` awaited on the loop after its last task."""
    _closing.append(hook)
    return hook


def in_event_loop() -> bool:
    """Return whether the caller runs in an asyncio loop, where nothing may block."""
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

    def start(self) -> None:
        """Start the thread and await the opening hooks. Raises what one of them raises."""
        self._thread.start()
        self.submit(_open()).result()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run a coroutine in the caller's context, so it sees the caller's current task."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def stop(self) -> None:
        """Cancel what still runs, await the closing hooks, end the thread. It takes a bounded time."""
        if not self._thread.is_alive():
            return
        try:
            self.submit(_close()).result(CLOSING_TIME * (2 + len(_closing)))
        except Exception:
            logger.exception("the task loop did not close in order")
        self._ending = True
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(CLOSING_TIME)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        while not self._ending:
            try:
                self.loop.run_forever()
            except (SystemExit, KeyboardInterrupt):  # asyncio lets these out of a task
                logger.warning("a task called for the end of the process; only the task ends")
            except Exception:
                logger.exception("the task loop met an unexpected error and goes on")
                time.sleep(AFTER_UNEXPECTED)
        self.loop.close()


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
    """The loop of this process, started at its first use: by the pool, or by a task that is called as a function."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: LoopThread | None = None

    def get(self) -> LoopThread:
        """Return the running loop."""
        with self._lock:
            if self._thread is None:
                self._thread = LoopThread()
                self._thread.start()
            return self._thread

    def stop(self) -> None:
        """Stop the loop, if it runs."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop()


shared_loop = _Shared()
