"""Uploads: files and addresses that go with a question. A query says what they are; bytes travel apart from it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from agentic_flywheel import texts
from agentic_flywheel.addresses import holds_login
from agentic_flywheel.base import Model
from agentic_flywheel.errors import InvalidQuery
from agentic_flywheel.given import fault_of
from agentic_flywheel.regular_files import open_below, open_regular

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


_ADDRESS = re.compile(r"https?://[^\s\"'`\\]+", re.IGNORECASE)


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


def _fault_of_address(text: str) -> str | None:
    """Return why a text is not the address of an image that is passed on; None where it is one."""
    if not _ADDRESS.fullmatch(text):
        return (
            "it is no address of an image, which begins with http:// or https:// and has no white space or quotes; a "
            "file is given by its path (in Python a `Path`), over HTTP as a part of a form"
        )
    if holds_login(text):
        return "it holds a login, which records and traces would show: give one that needs none, or the file"
    return None


def _address(value: Any) -> Any:
    if isinstance(value, str) and (fault := _fault_of_address(value)):
        raise PydanticCustomError("address", "{fault}", {"fault": fault})
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


@dataclass(frozen=True)
class FileBelow:
    """A file below a folder whose clients may name files in it. Whenever it is read, it is still below that folder."""

    folder: Path
    #: From the folder on, without a link in it.
    path: PurePath

    def __str__(self) -> str:
        return str(self.folder / self.path)


#: Where the bytes of an upload come from.
Source = Path | bytes | OpenFile | FileBelow


class Upload(Model):
    """A file, or the address of an image, that goes with a question. Its type follows from the ending of its name.

    A file is known by the SHA-256 of what is in it, 64 hex digits.
    """

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
        cannot be read, and where flows take no file of its name."""
        if not isinstance(source, Source):
            raise InvalidQuery("uploads", "a file is given as a `Path`, or as bytes with a name; a text is neither")
        called = name or (source.name if isinstance(source, Path) else "")
        digest, size = hashlib.sha256(), 0
        for piece in pieces_of(source):
            digest.update(piece)
            size += len(piece)
        if not size:
            raise InvalidQuery("uploads", f"{called or 'a file'} is empty")
        upload = cls._checked(name=called, digest=digest.hexdigest(), size=size)
        upload._source = source
        return upload

    @classmethod
    def at(cls, url: str) -> Self:
        """Return the upload of an image's address; its name is the last part of the address. Raises InvalidQuery."""
        if fault := _fault_of_address(url):
            raise InvalidQuery("uploads.url", fault)
        return cls._checked(name=PurePosixPath(urlsplit(url).path).name, url=url)

    @classmethod
    def _checked(cls, **fields: Any) -> Self:
        try:
            return cls(**fields)
        except ValidationError as refused:
            field, reason = fault_of(refused)
            raise InvalidQuery(f"uploads.{field}", reason) from None

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


def ending_of(mime: str) -> str | None:
    """Return an ending that a file of this MIME type may have; None where Flowise takes none of it."""
    family, _, word = mime.partition("/")
    # `image/jpg` is not registered, and yet written.
    unregistered = word if (_TYPES.get(word) or "").startswith(f"{family}/") else None
    return next((ending for ending, each in _TYPES.items() if each == mime), unregistered)


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
        with open_regular(source) if isinstance(source, Path) else open_below(source.folder, source.path) as file:
            left = LARGEST + 1
            while piece := file.read(min(PIECE, left)):
                left -= len(piece)
                yield piece
        if left == 0:
            raise InvalidQuery("uploads", f"{source} has more than {LARGEST:,} bytes; flows take no more")
    except OSError as refused:
        raise InvalidQuery("uploads", f"{source} cannot be read: {refused.strerror or refused}") from None


def placed(refused: InvalidQuery, place: int) -> InvalidQuery:
    """Return why an upload was refused, with its place among those of the query, from 0."""
    return InvalidQuery(refused.field_name.replace("uploads", f"uploads.{place}", 1), refused.reason)


def _upload(value: Any, place: int) -> Any:
    """Return what a program gave for an upload: a path is a file of this machine, a text is an address."""
    try:
        if isinstance(value, Path):
            return Upload.of(value)
        if isinstance(value, str):
            return Upload.at(value)
    except InvalidQuery as refused:
        raise placed(refused, place) from None
    if not isinstance(value, Upload | dict):
        meant = (
            "a `Path`, the address of an image or an `Upload`; bytes are given as Upload.of(b'…', name='figures.csv')"
        )
        raise InvalidQuery(f"uploads.{place}", f"it should be {meant}")
    return value


def _uploads(value: Any) -> Any:
    """Return the uploads of a query from what was given. Raises InvalidQuery, which pydantic passes on as it is."""
    return tuple(_upload(each, place) for place, each in enumerate(value)) if isinstance(value, list | tuple) else value


#: The uploads of a query; paths and addresses may stand for them.
Uploads = Annotated[tuple[Upload, ...], Field(max_length=MOST_UPLOADS), BeforeValidator(_uploads)]


def _ending(name: str) -> str:
    return name.rpartition(".")[2].lower() if "." in name else ""
