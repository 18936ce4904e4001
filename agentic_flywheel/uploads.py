"""Uploads: files and addresses that go with a question. A query says what they are; bytes travel apart from it."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, model_validator
from pydantic_core import PydanticCustomError

from agentic_flywheel import texts
from agentic_flywheel.addresses import holds_login
from agentic_flywheel.errors import InvalidQuery

#: Most uploads of one query.
MOST_UPLOADS = 10
#: Bytes of the largest file: in base64, and with what is around it, as much as a request to Flowise may have.
LARGEST = 36 * 2**20
#: Bytes of a piece of a file: a multiple of three, so that the base64 of the pieces is that of the file.
PIECE = 3 * 65_536

#: What Flowise takes, by the ending of the name: it refuses other endings, and one that does not fit the type.
#: Source: Flowise 3.1.4, ``mapMimeTypeToExt``.
_TYPES = {
    "txt": "text/plain",
    "html": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "xml": "application/xml",
    "md": "text/markdown",
    "pdf": "application/pdf",
    "json": "application/json",
    "csv": "text/csv",
    "jsonl": "application/jsonl",
    "yaml": "application/x-yaml",
    "sql": "application/sql",
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "ppt": "application/vnd.ms-powerpoint",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "rtf": "application/rtf",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "png": "image/png",
    "gif": "image/gif",
    "webp": "image/webp",
    "svg": "image/svg+xml",
    "bmp": "image/bmp",
    "tiff": "image/tiff",
    "tif": "image/tiff",
    "avif": "image/avif",
    "webm": "audio/webm",
    "m4a": "audio/mp4",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "oga": "audio/ogg",
    "wav": "audio/wav",
    "aac": "audio/aac",
    "flac": "audio/flac",
}


_ADDRESS = re.compile(r"https?://[^\s\"'`\\]+")


def _name(value: Any) -> Any:
    if isinstance(value, str):
        if fault := texts.fault_in_name(value):
            raise PydanticCustomError("text", "{fault}", {"fault": fault})
        if "/" in value or "\\" in value or ".." in value:
            raise PydanticCustomError("name", "it should be a file's name, without a folder")
        if type_of(value) is None:
            kinds = ", ".join(_TYPES)
            raise PydanticCustomError("name", f"flows take files that end in {kinds}")
    return value


def _address(value: Any) -> Any:
    if isinstance(value, str) and not _ADDRESS.fullmatch(value):
        raise PydanticCustomError("address", "it should begin with http:// or https://, without white space or quotes")
    if isinstance(value, str) and holds_login(value):
        raise PydanticCustomError(
            "login", "it holds a login, which records and traces would show: give one that needs none, or the file"
        )
    return value


@dataclass(frozen=True)
class OpenFile:
    """A file that is held open by whoever received it, and may have no name. Several may read it at once."""

    file: IO[bytes]

    def pieces(self) -> Iterator[bytes]:
        """Yield what is in it, in pieces of ``PIECE`` bytes. Raises OSError; ValueError where it was closed."""
        at = 0
        while piece := os.pread(self.file.fileno(), PIECE, at):
            at += len(piece)
            yield piece


#: Where the bytes of an upload come from.
Source = Path | bytes | OpenFile


class Upload(BaseModel):
    """A file, or the address of an image, that goes with a question. Its type follows from the ending of its name.

    A file is known by the SHA-256 of what is in it, 64 hex digits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=200), BeforeValidator(_name)]
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    #: Bytes.
    size: Annotated[int, Field(ge=0)] = 0
    #: An address is passed on as it is; nobody fetches it here.
    url: Annotated[str, Field(max_length=2000), BeforeValidator(_address)] | None = None

    _source: Source | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.digest is None) == (self.url is None):
            raise PydanticCustomError("upload", "it is either a file, with the digest of what is in it, or an address")
        return self

    @classmethod
    def of(cls, source: Source, name: str | None = None) -> Self:
        """Return the upload of a file, or of bytes or an open file, which need a name. Raises InvalidQuery where it
        cannot be read."""
        called = name or (source.name if isinstance(source, Path) else "")
        digest, size = hashlib.sha256(), 0
        for piece in pieces_of(source):
            digest.update(piece)
            size += len(piece)
        if not size:
            raise InvalidQuery("uploads", f"{called or 'a file'} is empty")
        upload = cls(name=called, digest=digest.hexdigest(), size=size)
        upload._source = source
        return upload

    @classmethod
    def at(cls, url: str) -> Self:
        """Return the upload of an image's address; its name is the last part of the address."""
        return cls(name=PurePosixPath(urlsplit(url).path).name, url=url)

    @property
    def source(self) -> Source | None:
        """Where the bytes are, for who has them; never part of a query that travels."""
        return self._source

    @property
    def type(self) -> str:
        """The MIME type."""
        return type_of(self.name) or ""

    @property
    def kind(self) -> Literal["image", "audio", "file"]:
        family = self.type.partition("/")[0]
        return "image" if family == "image" else "audio" if family == "audio" else "file"

    @property
    def identity(self) -> list[str]:
        """What makes two uploads the same one."""
        return [self.name, self.digest or "", self.url or ""]


def type_of(name: str) -> str | None:
    """Return the MIME type that a file of this name has in Flowise; None where it takes none that ends so."""
    return _TYPES.get(_ending(name))


def pieces_of(source: Source) -> Iterator[bytes]:
    """Yield a file in pieces of ``PIECE`` bytes. Raises InvalidQuery where it cannot be read or is larger than any."""
    if isinstance(source, bytes):
        yield from (source[start : start + PIECE] for start in range(0, len(source), PIECE))
        return
    if isinstance(source, OpenFile):
        try:
            yield from source.pieces()
        except (OSError, ValueError):
            raise InvalidQuery("uploads", "a file that was received cannot be read any more") from None
        return
    try:
        # What is none may never end, nor even open: a pipe, a terminal, a device behind a link.
        if not stat.S_ISREG(source.stat().st_mode):
            raise InvalidQuery("uploads", f"{source} is not a regular file")
        with source.open("rb") as file:
            left = LARGEST + 1
            while piece := file.read(min(PIECE, left)):
                left -= len(piece)
                yield piece
        if left == 0:
            raise InvalidQuery("uploads", f"{source} has more than {LARGEST:,} bytes; flows take no more")
    except OSError as refused:
        raise InvalidQuery("uploads", f"{source} cannot be read: {refused.strerror or refused}") from None


def _upload(value: Any) -> Any:
    """Return what a program gave for an upload: a path is a file of this machine, a text is an address."""
    if isinstance(value, Path):
        return Upload.of(value)
    return Upload.at(value) if isinstance(value, str) else value


def _uploads(value: Any) -> Any:
    return tuple(map(_upload, value)) if isinstance(value, list | tuple) else value


#: The uploads of a query; paths and addresses may stand for them.
Uploads = Annotated[tuple[Upload, ...], Field(max_length=MOST_UPLOADS), BeforeValidator(_uploads)]


def _ending(name: str) -> str:
    return name.rpartition(".")[2].lower() if "." in name else ""
