"""Serve one client over the standard streams: every line is answered, and a signal ends the process at once."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from mcp.server.stdio import stdio_server

from mcp_bridge.bridge import Bridge
from mcp_bridge.raw_messages import ENDS, MessageFault, fault_of, too_long
from mcp_bridge.server import build_server

#: Bytes of one line. A longer one is passed over and answered with an error.
LONGEST_LINE = 4 * 2**20
#: Seconds in which the connections must have been closed after a signal.
GOODBYE = 2.0
_CHUNK = 2**16
#: Lines that wait to be worked on; then reading pauses.
_WAITING = 64


async def serve_stdio(bridge: Bridge) -> int:
    """Serve until the client closes its side, or a signal comes. Returns the exit status: 0, 130 or 143."""
    loop = asyncio.get_running_loop()
    wire = _Wire(sys.stdout.fileno())
    lines = _Lines(sys.stdin.fileno(), wire)
    server = build_server(bridge)

    async def run() -> None:
        async with stdio_server(lines, wire) as (reading, writing):  # type: ignore[arg-type]
            await server.run(reading, writing, server.create_initialization_options())

    serving = asyncio.create_task(run())
    caught: list[int] = []

    def stop(number: int) -> None:
        caught.append(number)
        serving.cancel()
        loop.call_later(GOODBYE, os._exit, 128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # Windows has no such handlers; there Ctrl-C raises KeyboardInterrupt
            loop.add_signal_handler(number, stop, number)
    try:
        await serving
    except asyncio.CancelledError:
        if not caught:
            raise
    except OSError:
        pass  # the client went away while it was told something
    return 128 + caught[0] if caught else 0


class _Wire:
    """Writes messages to the client. What others print goes to stderr: stdout is the protocol's."""

    def __init__(self, stdout: int) -> None:
        self._file = os.dup(stdout)
        os.dup2(sys.stderr.fileno(), stdout)
        self._loop = asyncio.get_running_loop()
        self._waiting: queue.SimpleQueue[tuple[bytes, asyncio.Future[None]]] = queue.SimpleQueue()
        # A thread of its own that nobody waits for: it may sit in a write when the process ends.
        threading.Thread(target=self._pump, daemon=True, name="stdout").start()

    async def write(self, text: str) -> None:
        done = self._loop.create_future()
        self._waiting.put((text.encode("utf-8", "replace"), done))
        await done

    def _pump(self) -> None:
        while True:
            data, done = self._waiting.get()
            failure: OSError | None = None
            try:
                _write_all(self._file, data)
            except OSError as gone:
                failure = gone
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(_settle, done, failure)

    async def flush(self) -> None:
        """Nothing is held back."""

    async def refuse(self, code: int, message: str, request_id: Any = None) -> None:
        """Answer a line that is no message."""
        await self.write(json.dumps(MessageFault(code, message, request_id).response) + "\n")


def _settle(done: asyncio.Future[None], failure: OSError | None) -> None:
    if done.done():
        return
    if failure is not None:
        done.set_exception(failure)
    else:
        done.set_result(None)


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _judged(begin: bytes, line: bytes) -> bytes | MessageFault:
    """Return a line; where it is too long, the fault. ``begin``: that of a line of which ``line`` is the end alone."""
    if begin or len(line) > LONGEST_LINE:
        return too_long(begin or line[:ENDS], line[-ENDS:], LONGEST_LINE)
    return line


class _Lines:
    """Reads messages from the client, and answers for itself those that cannot be read."""

    def __init__(self, stdin: int, wire: _Wire) -> None:
        self._stdin, self._wire = stdin, wire
        self._loop = asyncio.get_running_loop()
        self._room = threading.Semaphore(_WAITING)
        self._read: asyncio.Queue[bytes | MessageFault | None] = asyncio.Queue()

    async def __aiter__(self) -> AsyncIterator[str]:
        # A thread of its own that nobody waits for: it may sit in a read when the process ends.
        threading.Thread(target=self._pump, daemon=True, name="stdin").start()
        while (line := await self._read.get()) is not None:
            self._room.release()
            if isinstance(line, bytes) and not line.strip():
                continue
            fault = line if isinstance(line, MessageFault) else fault_of(line)
            if fault is not None:
                await self._wire.refuse(*fault)
            elif isinstance(line, bytes):
                yield line.decode()

    def _pump(self) -> None:
        # Of a line that is too long, its begin is kept, and as much of the rest as may be its end.
        begun, begin = b"", b""
        while chunk := self._chunk():
            *ended, begun = (begun + chunk).split(b"\n")
            for line in ended:
                self._hand_over(_judged(begin, line))
                begin = b""
            if begin or len(begun) > LONGEST_LINE:
                begin, begun = begin or begun[:ENDS], begun[-ENDS:]
        if begun:
            self._hand_over(_judged(begin, begun))
        self._hand_over(None)

    def _chunk(self) -> bytes:
        try:
            return os.read(self._stdin, _CHUNK)
        except OSError:
            return b""

    def _hand_over(self, line: bytes | MessageFault | None) -> None:
        self._room.acquire()
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._read.put_nowait, line)
