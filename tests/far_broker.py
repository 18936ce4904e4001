"""A way to a broker that is far: it holds each reply for a moment, and counts how often somebody has waited for one."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

#: Seconds for which a reply is held. What is sent meanwhile costs its sender no further round trip.
_HELD = 0.01


class Way:
    """Counts connections, and over all of them the round trips: what is sent before a reply has come is one of them."""

    def __init__(self, together: int) -> None:
        self.connections = self.round_trips = 0
        self.port = 0
        self._together = together
        self._enough = asyncio.Event()

    async def serve(self, target: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.connections >= self._together:
            self._enough.set()
        with contextlib.suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", target)
            answered = asyncio.Event()
            answered.set()
            await asyncio.gather(self._ask(reader, back, answered), self._answer(there, writer, answered))

    async def _ask(self, reader: asyncio.StreamReader, back: asyncio.StreamWriter, answered: asyncio.Event) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                self.round_trips += answered.is_set()
                answered.clear()
                back.write(data)
        back.close()

    async def _answer(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter, answered: asyncio.Event) -> None:
        with contextlib.suppress(OSError):
            while data := await there.read(1 << 20):
                await self._enough.wait()
                await asyncio.sleep(_HELD)
                answered.set()
                writer.write(data)
        writer.close()


@contextmanager
def way_to(port: int, *, together: int = 1) -> Iterator[Way]:
    """Lead to a port of this machine during the block. No reply comes before so many are connected ``together``."""
    way, ready, over = Way(together), threading.Event(), threading.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await way.serve(port, reader, writer)

    async def lead() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        way.port = server.sockets[0].getsockname()[1]
        ready.set()
        await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=asyncio.run, args=(lead(),), daemon=True)
    thread.start()
    assert ready.wait(5)
    try:
        yield way
    finally:
        over.set()
        thread.join(5)
