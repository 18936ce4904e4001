"""The roots of traces that a worker owes: noted by the script that ends a query, until they have left the worker.

When a worker dies, another one takes over what it still owed, so that no trace stays without its root.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice

from agentic_flywheel import wire
from agentic_flywheel.batch import Batch

_AT_ONCE = 500


class OwedRoots:
    """What has left this worker and is still to be crossed out at the broker."""

    def __init__(self) -> None:
        self.worker = uuid.uuid4().hex
        self._left: deque[str] = deque()
        self._bell = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def left(self, query_ids: Iterable[str]) -> None:
        """Note that these roots were sent, or given up. Any thread may call it."""
        self._left.extend(query_ids)
        if self._loop is not None:
            # After the end of the loop `settle` was the last one to look.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._bell.set)

    async def keep_settling(self, batch: Batch) -> None:
        """Cross out what has left, soon after it has, until cancelled. Raises BrokerUnavailable."""
        self._loop = asyncio.get_running_loop()
        while True:
            await self.settle(batch)
            await self._bell.wait()
            self._bell.clear()

    async def settle(self, batch: Batch) -> None:
        """Cross out what has left so far. Raises BrokerUnavailable; then it is still to be crossed out."""
        while self._left:
            some = list(islice(self._left, _AT_ONCE))
            await batch.call("SREM", wire.roots_key(self.worker), *some)
            for _ in some:
                self._left.popleft()
