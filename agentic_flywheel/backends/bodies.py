"""Bodies of requests that are never held whole: files are read while they are sent."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from agentic_flywheel.errors import FlywheelError

UploadType = Literal["file", "url", "audio", "document", "file:full"]


@dataclass(frozen=True)
class FileContent:
    """The bytes of a file, in pieces of base64. Each piece is the base64 of whole bytes."""

    size: int
    pieces: Callable[[], AsyncIterator[bytes]]


@dataclass(frozen=True)
class FlowUpload:
    """An upload: with an address or a text as ``data``, or with a file's bytes.

    A ``file`` is an image, ``file:full`` the text of a document that the flow's server has read, in Flowise's words.
    """

    type: UploadType
    name: str
    mime: str
    data: str = ""
    content: FileContent | None = None


class StreamedBody:
    """A body of bytes and files. ``failed`` is why it could not be sent whole, if it could not."""

    def __init__(self, parts: Sequence[bytes | FileContent], *, raw: bool = False, content_type: str) -> None:
        """``raw``: whether files are sent as they are; otherwise they are sent in base64."""
        self._parts, self._raw = parts, raw
        self.content_type = content_type
        self.failed: FlywheelError | None = None

    @property
    def length(self) -> int:
        """Bytes of the whole body."""
        return sum(len(part) if isinstance(part, bytes) else self._length_of(part) for part in self._parts)

    def _length_of(self, content: FileContent) -> int:
        return content.size if self._raw else 4 * -(-content.size // 3)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            if isinstance(part, bytes):
                yield part
                continue
            try:
                async for piece in part.pieces():
                    yield base64.b64decode(piece) if self._raw else piece
            except FlywheelError as failed:
                self.failed = failed
                raise


def with_uploads(body: bytes, uploads: Iterable[FlowUpload]) -> StreamedBody:
    """Return a request's JSON object with these uploads in it."""
    parts = [body.removesuffix(b"}") + b',"uploads":', *encoded_uploads(uploads), b"}"]
    return StreamedBody(parts, content_type="application/json")


def encoded_uploads(uploads: Iterable[FlowUpload]) -> list[bytes | FileContent]:
    """Return uploads as a list in JSON, in the parts of a body."""
    parts: list[bytes | FileContent] = [b"["]
    for number, upload in enumerate(uploads):
        told = {"type": upload.type, "name": upload.name, "mime": upload.mime, "data": upload.data}
        # As UTF-8, not as escapes: a document in Chinese would take twice the room, and there is a limit to it.
        head = json.dumps(told, ensure_ascii=False)
        parts.append(b"," if number else b"")
        if upload.content is None:
            parts.append(head.encode())
        else:
            # The empty text of `data` is the last one in it.
            parts += [head.encode().removesuffix(b'"}') + f"data:{upload.mime};base64,".encode(), upload.content, b'"}']
    return [*parts, b"]"]


def form_of_files(files: Iterable[tuple[str, str, FileContent]]) -> StreamedBody:
    """Return files, each with its name and type, as ``multipart/form-data`` (RFC 7578)."""
    boundary = secrets.token_hex(16)
    parts: list[bytes | FileContent] = []
    for name, mime, content in files:
        quoted = name.replace('"', "%22")
        head = f'Content-Disposition: form-data; name="files"; filename="{quoted}"\r\nContent-Type: {mime}\r\n\r\n'
        parts += [f"--{boundary}\r\n{head}".encode(), content, b"\r\n"]
    closing = f"--{boundary}--\r\n".encode()
    return StreamedBody([*parts, closing], raw=True, content_type=f"multipart/form-data; boundary={boundary}")
