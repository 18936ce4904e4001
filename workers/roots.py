"""The roots of traces that this worker still has to send. The script that ends a query notes them in Redis.

They are removed there after they were sent. When a worker dies, another one sends those that are left, so that every
trace gets its root.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Iterable
from contextlib import suppress

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.batch import Batch

_AT_ONCE = 500


class OwedRoots:
    """The roots that were sent and are still to be removed from the list in Redis."""

    def __init__(self) -> None:
        self.worker = uuid.uuid4().hex
        self._left: deque[str] = deque()
        self._bell = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def left(self, query_ids: Iterable[str]) -> None:
        """Note that the roots of these queries were sent or given up. May be called on any thread."""
        self._left.extend(query_ids)
        if self._loop is not None:
            # The loop may have ended; `settle` has then been called for the last time.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._bell.set)

    async def keep_settling(self, batch: Batch) -> None:
        """Remove sent roots from the list soon after they were sent, until cancelled. Raises BrokerUnavailable."""
        self._loop = asyncio.get_running_loop()
        while True:
            await self.settle(batch)
            await self._bell.wait()
            self._bell.clear()

    async def settle(self, batch: Batch) -> None:
        """Remove the roots that were sent so far. Raises BrokerUnavailable; they are then removed next time."""
        while self._left:
            # By their places: an iterator fails where another thread adds to them.
            some = [self._left[place] for place in range(min(len(self._left), _AT_ONCE))]
            await batch.call("SREM", wire.roots_key(self.worker), *some)
            for _ in some:
                self._left.popleft()
