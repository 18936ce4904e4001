"""Receive multipart/form-data as it comes: fields in memory, within bounds, and files on disk, never held whole.

The files have no name there: whatever becomes of this process, nothing of them is left.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO
from urllib.parse import unquote_to_bytes

from fastapi import Request
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from agentic_flywheel.errors import InvalidQuery, UploadNotKept
from agentic_flywheel.settings import Settings
from agentic_flywheel.uploads import LARGEST, MOST_UPLOADS, OpenFile, Upload

_ENCODED_NAME = re.compile(rb";\s*filename\*\s*=\s*\"?([\w-]*)'[^']*'([^\s;\"]*)", re.IGNORECASE)
#: Most parts of a form, and most bytes of those that are no files.
MOST_PARTS, FIELD_BYTES = 100, 2**20


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """One file of a form, on disk until the form is left."""

    part: str
    name: str
    file: IO[bytes]


@dataclass(slots=True)
class ReceivedForm:
    """A form that has come whole."""

    fields: dict[str, str] = field(default_factory=dict)
    files: list[ReceivedFile] = field(default_factory=list)

    async def uploads(self) -> list[Upload]:
        """Return the files as uploads of a query. Raises InvalidQuery for a name or a content that is not accepted."""
        return [await asyncio.to_thread(_upload, each) for each in self.files]


@asynccontextmanager
async def received_form(request: Request, settings: Settings) -> AsyncIterator[ReceivedForm]:
    """Receive a request's form; its files are there during the block. Raises InvalidQuery,
    UploadNotKept."""
    most = settings.upload_bytes if settings.uploads_url is None else max(settings.upload_bytes, LARGEST)
    with ExitStack() as files:
        yield await _Receiving(files, most).form(request)


@contextmanager
def _on_disk() -> Iterator[None]:
    """Raise UploadNotKept where the disk is full, or takes nothing."""
    try:
        yield
    except OSError as refused:
        raise UploadNotKept("TMPDIR", refused.strerror or str(refused)) from None


def close_given_up(file: IO[bytes]) -> None:
    """Close a file that nobody needs any longer. What the disk would not take is tried once more, and fails again."""
    with suppress(OSError):
        file.close()


def _file_name(options: Mapping[bytes, bytes], disposition: bytes) -> str | None:
    """Return the name of a part's file; None of a part that is no file. Some clients write RFC 5987's form alone."""
    if b"filename" in options:
        return options[b"filename"].decode("utf-8", "replace")
    found = _ENCODED_NAME.search(disposition)
    if found is None:
        return None
    charset = "iso-8859-1" if found[1].lower() == b"iso-8859-1" else "utf-8"
    return unquote_to_bytes(found[2]).decode(charset, "replace")


def _upload(file: ReceivedFile) -> Upload:
    try:
        return Upload.of(OpenFile(file.file), file.name)
    except InvalidQuery as refused:
        raise InvalidQuery(refused.field_name.replace("uploads", file.part, 1), refused.reason) from None


class _Receiving:
    """Takes the pieces of one form from the parser."""

    def __init__(self, files: ExitStack, most: int) -> None:
        self._files, self._most = files, most
        self._form = ReceivedForm()
        self._parts = self._field_bytes = self._size = 0
        self._header = self._value = b""
        self._disposition = b""
        self._part = self._name = ""
        self._file: IO[bytes] | None = None
        self._text = bytearray()
        self._whole = False

    async def form(self, request: Request) -> ReceivedForm:
        """Return the form when all of it has come. Raises InvalidQuery, UploadNotKept."""
        _, options = parse_options_header(request.headers.get("content-type"))
        if not (boundary := options.get(b"boundary")):
            raise InvalidQuery("body", "its content type names no boundary")
        try:
            parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._header_field,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_finished,
                    "on_part_data": self._data,
                    "on_part_end": self._end,
                    "on_end": self._ended,
                },
            )
            async for piece in request.stream():
                parser.write(piece)
            parser.finalize()
        except FormParserError:
            raise InvalidQuery("body", "it is no form of the kind multipart/form-data") from None
        if not self._whole:
            raise InvalidQuery("body", "the form ends before its last boundary")
        return self._form

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise InvalidQuery("body", f"it has more than {MOST_PARTS} parts")
        self._disposition, self._size = b"", 0
        self._text.clear()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise InvalidQuery("body", "one of its parts has no name")
        self._part = options[b"name"].decode("utf-8", "replace")[:200]
        name = _file_name(options, self._disposition)
        if name is None:
            return
        if len(self._form.files) == MOST_UPLOADS:
            raise InvalidQuery(self._part, f"at most {MOST_UPLOADS} files are accepted")
        self._name = name
        with _on_disk():
            received = tempfile.TemporaryFile(prefix="flywheel-form-")  # noqa: SIM115 - the next line closes it
        self._files.callback(close_given_up, received)
        self._file = received

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._file is None:
            self._field_bytes += end - start
            if self._field_bytes > FIELD_BYTES:
                raise InvalidQuery(self._part, f"the fields have more than {FIELD_BYTES:,} bytes together")
            self._text += data[start:end]
            return
        self._size += end - start
        if self._size > self._most:
            named = f"{self._name[:200]} has more than {self._most:,} bytes, no larger file is accepted"
            raise InvalidQuery(self._part, named)
        with _on_disk():
            self._file.write(data[start:end])

    def _end(self) -> None:
        if self._file is None:
            if self._part in self._form.fields:
                raise InvalidQuery(self._part, "it is given twice")
            try:
                self._form.fields[self._part] = self._text.decode()
            except UnicodeDecodeError:
                raise InvalidQuery(self._part, "it is no text in UTF-8") from None
            return
        with _on_disk():
            self._file.flush()
        # A browser sends a field for files in which none was chosen as a file without name and content.
        if self._name or self._size:
            self._form.files.append(ReceivedFile(self._part, self._name, self._file))
        self._file = None

    def _ended(self) -> None:
        self._whole = True
