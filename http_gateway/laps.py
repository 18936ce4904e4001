"""Let few requests begin in one lap of the loop, so that a burst of them does not keep the others waiting.

A request of a few milliseconds runs without a pause. Of a thousand that come together, all would run before anything
else has its turn: another client's stream, or the question whether this process still serves.
"""

from __future__ import annotations

import asyncio
from collections import deque

#: Requests that begin in one lap. One takes half a millisecond or more; a lap itself some hundredths of one.
AT_ONCE = 10


class RequestTurns:
    """The turns of one process, on one loop: whoever came first begins first."""

    def __init__(self) -> None:
        self._left = AT_ONCE
        self._waiting = deque[asyncio.Future[None]]()
        self._in_lap = False

    async def turn(self) -> None:
        """Return when a request may begin: at once, unless as many have begun in this lap."""
        loop = asyncio.get_running_loop()
        if not self._in_lap:
            self._in_lap = True
            loop.call_soon(self._next_lap, loop)
        if self._left:
            self._left -= 1
            return
        mine = loop.create_future()
        self._waiting.append(mine)
        await mine

    def _next_lap(self, loop: asyncio.AbstractEventLoop) -> None:
        self._left = AT_ONCE
        while self._left and self._waiting:
            first = self._waiting.popleft()
            if not first.done():  # its client may have gone away
                first.set_result(None)
                self._left -= 1
        self._in_lap = self._left < AT_ONCE
        if self._in_lap:
            loop.call_soon(self._next_lap, loop)
