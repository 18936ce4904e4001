"""Files that go with queries, in Redis: each in pieces, named by its asker and the digest of what is in it.

They are kept in base64, as Flowise takes them; large ones are in a folder (``large_files``). A file is deleted when no
open query needs it; the scripts see to that.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import secrets
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import assert_never

from agentic_flywheel.asker import Asker
from agentic_flywheel.broker import scripts, wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.large_files import LargeFiles
from agentic_flywheel.errors import (
    BrokerUnavailable,
    InvalidQuery,
    InvalidSetting,
    PackageMissing,
    UploadLost,
    UploadNotKept,
    UploadsFull,
)
from agentic_flywheel.settings import Settings
from agentic_flywheel.uploads import Source, Upload, pieces_of

logger = logging.getLogger(__name__)

#: Seconds for which the pieces of a file are kept while it is written.
_WRITTEN_WITHIN = 600
#: Pieces that one process reads or writes at once: its other calls wait for them on the same connection.
_AT_ONCE = 4


def blob_name(asker: Asker, upload: Upload) -> str:
    """Return the name of a file among those that are kept."""
    return f"{asker.name} {upload.digest}"


def encoded_size(size: int) -> int:
    """Return the number of characters of so many bytes in base64."""
    return 4 * -(-size // 3)


class _Read:
    """The pieces of a file that is read once, and the digest of what was read."""

    def __init__(self, source: Source) -> None:
        self._source, self.digest = source, hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        for piece in pieces_of(self._source):
            self.digest.update(piece)
            yield piece


@contextmanager
def _lost_without_file(upload: Upload) -> Iterator[None]:
    """Raise UploadLost where the folder of large files does not have one, or this worker has no such folder."""
    try:
        yield
    except (OSError, InvalidSetting, PackageMissing) as missing:
        logger.warning("the file of a query cannot be read: %s", missing)
        raise UploadLost(upload.name) from None


class Blobs:
    """The files on one broker. All methods raise BrokerUnavailable."""

    def __init__(self, batch: Batch, settings: Settings) -> None:
        self._batch, self._settings = batch, settings
        self._room = asyncio.Semaphore(_AT_ONCE)
        self.large = LargeFiles(settings.uploads_url)

    async def keep(self, asker: Asker, upload: Upload) -> None:
        """Keep a file that this process has. Raises UploadLost where it has it not, UploadsFull, UploadNotKept,
        InvalidQuery."""
        if upload.source is None or upload.digest is None:
            raise UploadLost(upload.name)
        token = secrets.token_hex(16)
        part, large = f"{asker.name} ~{token}", upload.size > self._settings.upload_bytes
        key, read, size = wire.blob_key(part), _Read(upload.source), 0 if large else encoded_size(upload.size)
        try:
            # Not repeated by itself: a piece whose reply was lost would be there twice. Whoever calls this begins anew.
            await asyncio.gather(
                self._batch.call("RPUSH", key, size, *([token] if large else []), patience=0.0),
                # In the same write: who dies between two would leave what never expires.
                self._batch.call("EXPIRE", key, _WRITTEN_WITHIN),
            )
            await (self._write_large(token, read) if large else self._write(key, read))
            if read.digest.hexdigest() != upload.digest:
                raise InvalidQuery("uploads", f"{upload.name} was changed while it was read")
        except BaseException:
            # Where the broker is away, the pieces expire, and what is in the folder is found to be nobody's.
            with suppress(BrokerUnavailable):
                await self._drop(part)
            raise
        await self._take_in(blob_name(asker, upload), part, size, upload)

    async def _write(self, key: str, read: _Read) -> None:
        for piece in read:
            async with self._room:
                await self._batch.call("RPUSH", key, base64.b64encode(piece), patience=0.0)

    async def _write_large(self, token: str, read: _Read) -> None:
        try:
            await asyncio.to_thread(self.large.write, token, read)
        except OSError as refused:
            raise UploadNotKept("FLYWHEEL_UPLOADS_URL", refused.strerror or str(refused)) from None

    async def _take_in(self, name: str, part: str, size: int, upload: Upload) -> None:
        most, ttl = self._settings.uploads_bytes, self._settings.upload_ttl
        kept = await scripts.keep_blob(
            self._batch, name=name, part=part, size=size, most=most, ttl_ms=int(ttl.total_seconds() * 1000)
        )
        match kept:
            case scripts.KeepBlobKept():
                return
            case scripts.KeepBlobFull():
                raise UploadsFull(kept.taken, most)
            case scripts.KeepBlobLost():
                raise UploadLost(upload.name)
            case _:
                assert_never(kept)

    async def spare(self, names: Sequence[str]) -> None:
        """Delete those of these files that no open query needs."""
        spared = await scripts.spare_blobs(self._batch, names=names)
        match spared:
            case scripts.SpareBlobsSpared():
                return
            case _:
                assert_never(spared)

    async def require(self, asker: Asker, uploads: Iterable[Upload]) -> None:
        """Raises UploadLost where one of these files is not kept."""
        for upload in uploads:
            if upload.digest:
                size, file = await self._head(asker, upload)
                if size == 0:
                    with _lost_without_file(upload):
                        await self.large.require(file)

    async def _head(self, asker: Asker, upload: Upload) -> tuple[int, str]:
        """Return the bytes that a file takes up here; if none, also its name in the folder. Raises UploadLost."""
        key = wire.blob_key(blob_name(asker, upload))
        size = await self._batch.call("LINDEX", key, 0)
        if size is None:
            raise UploadLost(upload.name)
        return int(size), await self._batch.call("LINDEX", key, 1) if size == "0" else ""

    async def pieces(self, asker: Asker, upload: Upload) -> AsyncIterator[bytes]:
        """Yield a file in base64, a piece at a time. Raises UploadLost; before the last piece, where it was changed."""
        digest, size, held = hashlib.sha256(), 0, b""
        async for piece in self._pieces(asker, upload):
            if held:
                yield held
            content = base64.b64decode(piece)
            digest.update(content)
            size, held = size + len(content), piece
            if size > upload.size:
                break
        if size != upload.size or digest.hexdigest() != upload.digest:
            await self._drop(blob_name(asker, upload))
            raise UploadLost(upload.name, changed=True)
        yield held

    async def _pieces(self, asker: Asker, upload: Upload) -> AsyncIterator[bytes]:
        key = wire.blob_key(blob_name(asker, upload))
        size, file = await self._head(asker, upload)
        if size == 0:
            with _lost_without_file(upload):
                async for piece in self.large.pieces(file):
                    yield piece
            return
        left, index = encoded_size(upload.size), 0
        while left > 0:
            index += 1
            async with self._room:
                text: str | None = await self._batch.call("LINDEX", key, index)
            if text is None:
                raise UploadLost(upload.name)
            left -= len(text)
            yield text.encode()

    async def _drop(self, name: str) -> None:
        """Delete a file, whoever needs it: it is not what its name says, or not all of it."""
        key = wire.blob_key(name)
        size = await self._batch.call("LINDEX", key, 0)
        if size == "0":
            await self._batch.call("SADD", wire.DOOMED_FILES, await self._batch.call("LINDEX", key, 1))
        await self._batch.call("ZREM", wire.BLOBS, f"{size} {name}")
        await self._batch.call("UNLINK", key)
