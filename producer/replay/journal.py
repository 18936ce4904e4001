"""The results file: results are appended, written to disk several times a second, and read back after a crash."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from pydantic_core import from_json

from agentic_flywheel.errors import UnusableReplay
from agentic_flywheel.private_files import private_binary
from producer.replay.folder import sync_folder
from producer.replay.results import ItemResult

#: Seconds between two writes to disk, and results after which one does not wait for it.
_PAUSE, _MANY = 0.2, 500

Durable = Callable[[list[ItemResult]], Awaitable[None]]


def recover(path: Path) -> Iterator[dict[str, object]]:
    """Yield each result as plain values; cut off what a crash left at the end of the file, so that it can go on.

    Raises UnusableReplay.
    """
    whole = 0
    try:
        with contextlib.suppress(FileNotFoundError), path.open("r+b") as file:
            for line in file:
                try:
                    # A power cut may leave a block of zeros; everything behind it is dropped.
                    fields = from_json(line)
                except ValueError:
                    break
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
                yield fields
            file.truncate(whole)
    except OSError as refused:
        raise UnusableReplay(str(path.parent), refused.strerror or str(refused)) from None


class Journal:
    """Appends results. Use it as an async context manager: what is waiting is written at its end, however it ends.

    ``durable`` is told which results will survive anything from now on.
    """

    def __init__(self, path: Path, durable: Durable) -> None:
        self._path = path
        self._durable = durable
        self._waiting: list[ItemResult] = []
        self._many = asyncio.Event()
        self._room = asyncio.Event()
        self._file: BinaryIO | None = None
        self._writer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Journal:
        with self._refusing():
            self._file = private_binary(self._path, "ab", 0)
            sync_folder(self._path.parent)
        self._writer = asyncio.create_task(self._write_on())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._writer is not None
        assert self._file is not None
        broken = self._writer.done()
        self._writer.cancel()
        await asyncio.wait([self._writer])
        try:
            # After a write that failed the file may end in half a line: whatever followed it would be lost with it.
            if broken:
                self._writer.result()
            await self._write()
        finally:
            self._file.close()

    async def append(self, result: ItemResult) -> None:
        """Keep a result. Waits where the disk does not keep up. Raises UnusableReplay."""
        assert self._writer is not None
        self._waiting.append(result)
        if len(self._waiting) >= _MANY:
            self._many.set()
        if len(self._waiting) > 4 * _MANY:
            self._room.clear()
            written = asyncio.ensure_future(self._room.wait())
            await asyncio.wait([written, self._writer], return_when=asyncio.FIRST_COMPLETED)
            written.cancel()
        if self._writer.done():
            self._writer.result()

    async def _write_on(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PAUSE):
                    await self._many.wait()
            self._many.clear()
            # Finish a write that has begun: half a line could not be told from a whole one.
            writing = asyncio.create_task(self._write())
            try:
                await asyncio.shield(writing)
            except asyncio.CancelledError:
                await asyncio.wait([writing])
                raise

    async def _write(self) -> None:
        written, self._waiting = self._waiting, []
        if not written:
            return
        await asyncio.to_thread(self._append_durably, written)
        self._room.set()
        await self._durable(written)

    def _append_durably(self, results: list[ItemResult]) -> None:
        assert self._file is not None
        lines = b"".join(result.written().encode() + b"\n" for result in results)
        with self._refusing():
            # One write can be partial; the file is ours alone, so the rest follows.
            view = memoryview(lines)
            while view:
                view = view[self._file.write(view) :]
            os.fdatasync(self._file.fileno())

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except OSError as refused:
            raise UnusableReplay(str(self._path.parent), refused.strerror or str(refused)) from None
