"""A TCP proxy before a server: it can go dead, where nothing passes and nobody is told, and it can lose a reply."""

from __future__ import annotations

import asyncio
import contextlib
import threading


class Proxy:
    """Forwards to a port on this machine, in a thread of its own. ``cut`` leaves every connection half-open."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._open = threading.Event()
        self._open.set()
        #: What a request holds whose reply is lost; empty: none is.
        self._losing = b""
        #: What a reply holds behind which its connection is cut; empty: none is.
        self._cutting = b""
        self._started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._started.wait(5)

    def cut(self) -> None:
        self._open.clear()

    def heal(self) -> None:
        self._open.set()

    def lose_reply(self, to: bytes) -> None:
        """Pass on the next request that holds these bytes, and cut its connection when the reply comes."""
        self._losing = to

    def cut_reply(self, behind: bytes) -> None:
        """Pass on the next reply that holds these bytes up to the piece that has them, and cut its connection."""
        self._cutting = behind

    @property
    def has_lost(self) -> bool:
        return not self._losing

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port: int = server.sockets[0].getsockname()[1]
        self._started.set()
        self._loop.run_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            to_lose = asyncio.Event()
            await asyncio.gather(
                self._pass(reader, back, to_lose, request=True),
                self._pass(there, writer, to_lose, request=False),
                return_exceptions=True,
            )

    async def _pass(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, to_lose: asyncio.Event, *, request: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                if not self._open.is_set():
                    return  # dropped: the connection stays open and silent
                if request and self._losing and self._losing in data:
                    self._losing = b""
                    to_lose.set()
                elif not request and to_lose.is_set():
                    break
                sink.write(data)
                await sink.drain()
                if not request and self._cutting and self._cutting in data:
                    self._cutting = b""
                    break
            sink.close()
