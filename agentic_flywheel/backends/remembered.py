"""What a server told a short while ago, asked for once however many want to know."""

from __future__ import annotations

import asyncio
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

    async def get(self, key: Hashable, ask: Callable[[], Awaitable[T]]) -> T:
        """Return the value of a key. Raises what ``ask`` raises."""
        now = asyncio.get_running_loop().time()
        expires, task = self._kept.get(key, (0.0, None))
        if task is None or now >= expires:
            if len(self._kept) >= MAX_ENTRIES:
                self._kept.clear()
            task = asyncio.ensure_future(_awaited(ask))
            task.add_done_callback(partial(self._forget_failure, key))
            self._kept[key] = (now + self._ttl, task)
        if task.done():
            return task.result()
        # One caller's cancellation must not cost the others their answer.
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Stop asking."""
        tasks = [task for _, task in self._kept.values()]
        self._kept.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget_failure(self, key: Hashable, task: asyncio.Task[T]) -> None:
        if (task.cancelled() or task.exception() is not None) and self._kept.get(key, (0.0, None))[1] is task:
            del self._kept[key]


async def _awaited(ask: Callable[[], Awaitable[T]]) -> T:
    return await ask()
