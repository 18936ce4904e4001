"""Large files of queries, in a folder or bucket that fsspec reaches. The broker keeps their names alone.

The functions of the folder block, so they run in threads. What the folder refuses is an OSError of its own.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from typing import Any

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.errors import InvalidSetting, PackageMissing
from agentic_flywheel.extras import need
from agentic_flywheel.uploads import PIECE

logger = logging.getLogger(__name__)

#: Seconds between two looks for files that nobody needs, and after which a file that nothing names is one.
_CLEARED_EVERY, _ORPHANED_AFTER = 5.0, 3600.0
#: So many rounds pass between two looks at the whole folder.
_ROUNDS = 120
#: Bytes that are held of a file while it is written to a bucket: the least part that S3 takes.
_BLOCK = 5 * 2**20


class LargeFiles:
    """The folder of large files. Its first use raises InvalidSetting where there is none, and PackageMissing."""

    def __init__(self, url: str | None) -> None:
        self._url = url
        self._opened: tuple[Any, str] | None = None

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        """Write a file; of one that cannot be written nothing is left. Blocks. Raises OSError."""
        folder, root = self._folder()
        try:
            with folder.open(f"{root}/{name}", "wb", block_size=_BLOCK) as file:
                if _is_local(folder):
                    os.chmod(f"{root}/{name}", 0o600)
                for piece in pieces:
                    file.write(piece)
        except OSError:
            with suppress(OSError):
                self._delete(name)
            raise

    async def require(self, name: str) -> None:
        """Raises FileNotFoundError where there is no such file."""
        folder, root = await asyncio.to_thread(self._folder)
        await asyncio.to_thread(folder.info, f"{root}/{name}")

    async def pieces(self, name: str) -> AsyncIterator[bytes]:
        """Yield a file in base64, a piece at a time. Raises FileNotFoundError."""
        folder, root = await asyncio.to_thread(self._folder)
        file = await asyncio.to_thread(folder.open, f"{root}/{name}", "rb", block_size=_BLOCK)
        try:
            while piece := await asyncio.to_thread(file.read, PIECE):
                yield base64.b64encode(piece)
        finally:
            await asyncio.to_thread(file.close)

    async def keep_clearing(self, batch: Batch) -> None:
        """Delete files that nobody needs any more, for ever. Where there is no folder, there is nothing to do."""
        if self._url is None or not await asyncio.to_thread(self._is_usable):
            await asyncio.Event().wait()
        rounds = 0
        while True:
            doomed = set(await batch.call("SRANDMEMBER", wire.DOOMED_FILES, 100))
            if rounds % _ROUNDS == 0:
                doomed |= await self._orphans(batch)
            for name in doomed:
                await asyncio.to_thread(self._delete, name)
                await batch.call("SREM", wire.DOOMED_FILES, name)
            rounds += 1
            await asyncio.sleep(_CLEARED_EVERY)

    async def _orphans(self, batch: Batch) -> set[str]:
        """Return files that no kept one names: those of expired ones, and of a process that died while it wrote one."""
        there = await asyncio.to_thread(self._older_than, time.time() - _ORPHANED_AFTER)
        for entry in await batch.call("ZRANGE", wire.BLOBS, 0, -1) if there else ():
            size, _, name = entry.partition(" ")
            if size == "0":
                there.discard(await batch.call("LINDEX", wire.blob_key(name), 1))
        return there

    def _is_usable(self) -> bool:
        try:
            self._folder()
        except (InvalidSetting, PackageMissing) as refused:
            logger.error("large files are neither read nor deleted here: %s", refused)
            return False
        return True

    def _older_than(self, moment: float) -> set[str]:
        folder, root = self._folder()
        names = {str(path).rpartition("/")[2]: path for path in folder.ls(root, detail=False)}
        return {name for name, path in names.items() if folder.modified(path).timestamp() < moment}

    def _delete(self, name: str) -> None:
        folder, root = self._folder()
        if folder.exists(f"{root}/{name}"):
            folder.rm_file(f"{root}/{name}")

    def _folder(self) -> tuple[Any, str]:
        if self._opened is None:
            if self._url is None:
                raise InvalidSetting("FLYWHEEL_UPLOADS_URL", "a file of this size needs a folder to be kept in")
            need("fsspec", "FLYWHEEL_UPLOADS_URL")
            from fsspec.core import url_to_fs

            try:
                folder, root = url_to_fs(self._url)
                there = folder.exists(root)
                folder.makedirs(root, exist_ok=True)
                if _is_local(folder) and not there:
                    os.chmod(root, 0o700)
            except (ImportError, ValueError, OSError) as refused:
                # Each kind of bucket has a package of its own; fsspec names it.
                raise InvalidSetting("FLYWHEEL_UPLOADS_URL", str(refused)) from None
            self._opened = folder, root.rstrip("/")
        return self._opened


def _is_local(folder: Any) -> bool:
    """Whether files of a folder have the rights of this machine's files; those of a bucket are the bucket's."""
    return "file" in folder.protocol
