"""Look at the resources that clients subscribed to: one after another, for all of them, and never much of the time."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from agentic_flywheel.asker import Asker
from agentic_flywheel.errors import FlywheelError
from mcp_bridge.bridge import Bridge
from mcp_bridge.resources import read
from mcp_bridge.tool import Call

logger = logging.getLogger(__name__)

#: Seconds between two looks at a resource, at least.
LOOK_EVERY = 1.0
#: Looking takes at most this share of the time, whatever is subscribed to.
SHARE = 0.05


#: What changes with the time alone, and so is no news.
_MOMENTS = ("since", "until")


@dataclass(eq=False)
class _Watched:
    """What a resource told, and who is to be told when that changes."""

    digest: bytes = b""
    bells: set[asyncio.Event] = field(default_factory=set)


class Watch:
    """The resources that somebody follows. Many who follow the same one cost one look."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        #: By asker and address.
        self._watched: dict[tuple[Asker, str], _Watched] = {}
        self._rounds: asyncio.Task[None] | None = None

    async def changes(self, asker: Asker, uri: str) -> AsyncIterator[None]:
        """Yield whenever a resource of an asker has changed."""
        with self._following(asker, uri) as (watched, bell):
            if not watched.digest:
                await self._look(asker, uri, watched)
            while True:
                await bell.wait()
                bell.clear()
                yield

    @contextmanager
    def _following(self, asker: Asker, uri: str) -> Iterator[tuple[_Watched, asyncio.Event]]:
        key, bell = (asker, uri), asyncio.Event()
        watched = self._watched.setdefault(key, _Watched())
        watched.bells.add(bell)
        if self._rounds is None or self._rounds.done():
            self._rounds = asyncio.create_task(self._look_around())
            self._bridge.keep(self._rounds)
        try:
            yield watched, bell
        finally:
            watched.bells.discard(bell)
            if not watched.bells:
                self._watched.pop(key, None)

    async def _look_around(self) -> None:
        while self._watched:
            began = time.monotonic()
            for (asker, uri), watched in list(self._watched.items()):
                started = time.monotonic()
                await self._look(asker, uri, watched)
                await asyncio.sleep((time.monotonic() - started) * (1 / SHARE - 1))
            await asyncio.sleep(max(0.0, began + LOOK_EVERY - time.monotonic()))

    async def _look(self, asker: Asker, uri: str, watched: _Watched) -> None:
        """Look once, and ring for everybody who follows if something is otherwise than before."""
        # The asker is given: this task runs in the context of whoever followed first.
        now = await _digest(Call(self._bridge, self._bridge.producer(asker)), uri)
        before, watched.digest = watched.digest, now
        if before and before != now:
            for bell in watched.bells:
                bell.set()


async def _digest(call: Call, uri: str) -> bytes:
    try:
        told = await read(call, uri) or {}
    except FlywheelError as away:  # it may come, or come back
        told = {"error": type(away).__name__}
    except Exception:  # a fault with one resource must not end the looking for all
        logger.exception("looking at %s failed", uri)
        told = {}
    lasting = {name: value for name, value in told.items() if name not in _MOMENTS}
    return hashlib.sha256(json.dumps(lasting, sort_keys=True, default=str).encode()).digest()
