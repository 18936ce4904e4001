"""What a server told a short while ago, asked for once however many want to know."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from typing import Generic, TypeVar

T = TypeVar("T")

#: Entries that one memory holds; with one more, all are asked for again.
MAX_ENTRIES = 4096


class Remembered(Generic[T]):
    """Remembers values for ``ttl`` seconds. What failed is asked for again at once."""

    def __init__(self, ttl: float) -> None:
        self._ttl = ttl
        self._kept: dict[Hashable, tuple[float, asyncio.Task[T]]] = {}

    async def get(self, key: Hashable, ask: Callable[[], Awaitable[T]], *, age: float | None = None) -> T:
        """Return the value of a key; ``age``: it was asked for so many seconds ago at most. Raises what ``ask`` raises.

        What is being asked for is waited for, whatever its age.
        """
        now = time.monotonic()
        asked, task = self._kept.get(key, (0.0, None))
        if task is None or (task.done() and now - asked >= (self._ttl if age is None else age)):
            if len(self._kept) >= MAX_ENTRIES:
                self._kept.clear()
            task = asyncio.ensure_future(_awaited(ask))
            task.add_done_callback(partial(self._forget_failure, key))
            self._kept[key] = (now, task)
        if task.done():
            return task.result()
        # One caller's cancellation must not cost the others their answer.
        return await asyncio.shield(task)

    def forget(self, key: Hashable) -> None:
        """Have the value of a key asked for again, unless it is being asked for."""
        if key in self._kept and self._kept[key][1].done():
            del self._kept[key]

    def _forget_failure(self, key: Hashable, task: asyncio.Task[T]) -> None:
        if (task.cancelled() or task.exception() is not None) and self._kept.get(key, (0.0, None))[1] is task:
            del self._kept[key]


async def _awaited(ask: Callable[[], Awaitable[T]]) -> T:
    return await ask()
