"""Open a file of questions: unpack it where it is compressed, and find its encoding."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import os
import re
import sys
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple, cast

from agentic_flywheel.errors import PackageMissing
from producer.replay.signs import codec_by_bytes, is_ebcdic
from producer.replay.zips import only_member

#: What to do without the package that a file needs.
OTHER_FILES = "Or save the questions as .csv or .jsonl, uncompressed: these need no further package."
#: Bytes that a compressed file, or stdin, may come to.
MAX_UNPACKED = 4 * 2**30
_CHUNK = 1 << 20
#: Seconds in which somebody has to open a named pipe for writing.
_PIPE_WAIT = 10.0
#: Bytes in which a file says its form, and where in them an archive of tar does.
_BLOCK, _TAR_AT = 512, 257
_ZIP = b"PK\x03\x04"
_GZIP, _ZSTD, _BZIP, _XZ = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zX"
#: How files of other programs begin, which would be read as strange text.
_FOREIGN = (
    (b"%PDF", "a PDF"),
    (b"\x89PNG", "a picture (PNG)"),
    (b"\xff\xd8\xff", "a picture (JPEG)"),
    (b"PAR1", "a Parquet file: export it as CSV or JSON lines"),
    (b"ARROW1", "an Arrow file: export it as CSV or JSON lines"),
    (b"SQLite format 3\0", "a database (SQLite): export a table as CSV"),
    (b"Rar!", "an archive (RAR): unpack it"),
    (b"7z\xbc\xaf", "an archive (7z): unpack it"),
    (b"{\\rtf", "a text of a word processor (RTF): save it as CSV"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x04\x22\x4d\x18", "compressed with lz4: unpack it"),
    (b"\x1f\x9d", "compressed with compress (.Z): unpack it"),
    (b"\x5d\x00\x00", "compressed with lzma: unpack it"),
)
#: Stands where bytes could not be decoded; no text may hold it, so that no such line is asked.
UNDECODABLE = "\udcff"
#: What is said of such a line.
NO_TEXT = "it holds bytes that are no text in this file's encoding"
_HANDLER = "agentic_flywheel.undecodable"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
#: Bytes at the beginning that tell an encoding.
_HEAD = 1 << 16
_BEYOND = re.compile(r"[^\x00-\x7f]")
#: A text is not UTF-8 where so many more characters beyond ASCII are not than are: the rest is not looked at.
_CLEAR = 10_000


class Encoding(NamedTuple):
    """How bytes are read as text."""

    codec: str
    #: What was assumed, in words; empty where the file itself says it or it is UTF-8 throughout.
    note: str = ""
    #: Why it is not clear, where it is not. It is then read as UTF-8, and each line that is not can be named.
    doubt: str = ""


def _marked(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return UNDECODABLE, error.end


codecs.register_error(_HANDLER, _marked)


class Plain(NamedTuple):
    """The bytes of a file as they are unpacked, and why they are not all of it; empty where they are."""

    file: BinaryIO
    lost: str = ""
    #: Its name in lower case, where the archive that it was in says it.
    name: str = ""


@contextmanager
def opened(path: Path) -> Iterator[tuple[Plain, str]]:
    """Give a file's bytes, unpacked where it is compressed, and its name without the ending that said so.

    Raises OSError, ValueError, PackageMissing.
    """
    with _open(path) as file, unpacked(file) as plain:
        yield plain, plain.name or re.sub(r"\.(gz|zst|zstd|bz2|xz)$", "", path.name.lower())


def _open(path: Path) -> BinaryIO:
    """Open a file. To open a named pipe waits for a writer, and no signal ends that; so it is given up after a while.

    Raises OSError, ValueError.
    """
    if not path.is_fifo():
        return path.open("rb")
    found: list[BinaryIO] = []
    opening = threading.Thread(target=lambda: found.append(path.open("rb")), daemon=True)
    opening.start()
    opening.join(_PIPE_WAIT)
    if opening.is_alive():
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))  # a writer for a moment: it ends the thread's wait
        opening.join()
        found.pop().close()
        raise ValueError(f"it is a named pipe that nobody has opened for writing within {_PIPE_WAIT:.0f} seconds")
    return found.pop()


@contextmanager
def unpacked(file: BinaryIO) -> Iterator[Plain]:
    """Give bytes that can be read twice: those of a file, or of a copy where it is compressed or a pipe.

    Raises ValueError where it is no text and nothing that can be unpacked.
    """
    if not file.seekable():
        with tempfile.TemporaryFile() as copy:
            _copy(file.read, copy)
            copy.seek(0)
            with unpacked(cast(BinaryIO, copy)) as plain:
                yield plain
        return
    start = _start_of(file)
    if start.startswith(_ZIP) and (name := only_member(file)):
        with zipfile.ZipFile(file) as archive, archive.open(name) as member, tempfile.TemporaryFile() as copy:
            yield Plain(*_unpacked(member.read, copy), name.lower())
        return
    packed = _packed(file, start)
    if packed is None:
        yield Plain(file)
        return
    with tempfile.TemporaryFile() as copy:
        yield Plain(*_unpacked(packed.read1, copy))


def _start_of(file: BinaryIO) -> bytes:
    """Return how a file begins. Raises ValueError where that is another program's form, which would be strange text."""
    file.seek(0)
    start = file.read(_BLOCK)
    file.seek(0)
    if start[_TAR_AT:].startswith(b"ustar"):
        raise ValueError("it is an archive (tar): unpack it")
    for begin, what in _FOREIGN:
        if start.startswith(begin):
            raise ValueError(f"it is {what}")
    return start


def _unpacked(read: Callable[[int], bytes], copy: IO[bytes]) -> tuple[BinaryIO, str]:
    """Unpack into a copy. Return it, and what of it is lost. Raises ValueError."""
    lost = ""
    try:
        _copy(read, copy)
    except EOFError:
        lost = "the compressed file is cut off here: what followed is lost"
    except gzip.BadGzipFile as refused:
        # Whole members were unpacked and proved by their sums; what follows them is none.
        if "Not a gzipped file" not in str(refused) or not copy.tell():
            raise ValueError(f"it cannot be unpacked: {refused}") from None
        lost = "after this line follows something that is not compressed with gzip; it is not read"
    except (zlib.error, lzma.LZMAError, zipfile.BadZipFile, OSError) as refused:
        raise ValueError(f"it cannot be unpacked: {refused}") from None
    plain = cast(BinaryIO, copy)
    if lost and not _ends_with_line(plain):
        raise ValueError("it is cut off: the compressed file has no end")
    if _start_of(plain).startswith((_GZIP, _ZSTD, _BZIP, _XZ)):
        raise ValueError("it is compressed twice: unpack it once")
    return plain, lost


def _packed(file: BinaryIO, start: bytes) -> io.BufferedIOBase | None:
    """Return what unpacks a file by how it begins; None where it is not compressed."""
    if start.startswith(_GZIP):
        return gzip.GzipFile(fileobj=file)
    if start.startswith(_BZIP):
        return bz2.BZ2File(file)
    if start.startswith(_XZ):
        return lzma.LZMAFile(file)
    return _zstd(file) if start.startswith(_ZSTD) else None


def _ends_with_line(copy: BinaryIO) -> bool:
    """Cut off the part of a line at the end, which would look like a whole one. Say whether a line is left."""
    end = copy.tell()
    while end:
        begin = max(0, end - _CHUNK)
        copy.seek(begin)
        found = copy.read(end - begin).rfind(b"\n")
        if found >= 0:
            copy.seek(begin + found + 1)
            # In UTF-16, little end first, the line feed has a second byte.
            copy.truncate(begin + found + 1 + (copy.read(1) == b"\0"))
            return True
        end = begin
    return False


def _copy(read: Callable[[int], bytes], copy: IO[bytes]) -> None:
    size = 0
    while chunk := read(_CHUNK):
        size += len(chunk)
        if size > MAX_UNPACKED:
            raise ValueError(f"it comes to more than {MAX_UNPACKED >> 30} GiB: ask it in parts")
        copy.write(chunk)


def _zstd(file: BinaryIO) -> io.BufferedIOBase:
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    try:
        zstd = import_module(name)
    except ImportError:
        raise PackageMissing("backports.zstd", "zstd", "A file that is compressed with zstd", OTHER_FILES) from None

    class Reader(io.BufferedIOBase):
        """Its own class of error becomes the one that is expected here."""

        def __init__(self) -> None:
            self._inner = zstd.ZstdFile(file)

        def read1(self, size: int = -1) -> bytes:
            try:
                return bytes(self._inner.read1(size))
            except zstd.ZstdError as refused:
                raise ValueError(f"it cannot be unpacked: {refused}") from None

    return Reader()


def text_of(file: BinaryIO, encoding: Encoding) -> io.TextIOWrapper:
    """Return the text of a file from its beginning; lines end as they do in it."""
    file.seek(0)
    return io.TextIOWrapper(file, encoding.codec, errors=_HANDLER, newline="")


def known_encoding(name: str) -> str:
    """Return the codec that a person names. Raises ValueError where there is none that gives text."""
    try:
        # Some codecs of Python's are no encodings of text, such as base64: this refuses them.
        io.TextIOWrapper(io.BytesIO(), name)
        return codecs.lookup(name).name
    except (LookupError, UnicodeError, ValueError):
        raise ValueError(
            f"there is no encoding {name!r}; usual ones are windows-1252, windows-1250, windows-1251, shift_jis, "
            "gb18030, big5, euc-kr"
        ) from None


def encoding_of(file: BinaryIO, *, told: str = "") -> Encoding:
    """Return a file's encoding: the codec that a person has ``told``, else what the file itself shows.

    Raises ValueError where the file's byte order mark says another one than was told.
    """
    file.seek(0)
    start = file.read(_HEAD)
    for mark, codec in _MARKS:
        # The mark of UTF-32 begins as that of UTF-16.
        if start.startswith(mark):
            family = codec.removesuffix("-sig")
            if told and not told.startswith(family):
                raise ValueError(f"it begins with the byte order mark of {family.upper()}, so it is not {told}")
            return Encoding(codec)
    if told:
        return Encoding(told, _word_against(file, told))
    if codec := codec_by_bytes(start):
        return Encoding(codec, f"has no byte order mark; read as {codec.upper()}")
    line, bad, good = _counted(file)
    if bad and is_ebcdic(start):
        return Encoding("utf-8", doubt="it looks like EBCDIC; say which, such as `--encoding cp500` or `cp037`")
    return Encoding("utf-8") if bad == 0 or good >= bad else _by_words(file, line)


def _by_words(file: BinaryIO, line: int) -> Encoding:
    # Imported where it is needed: it reads the pieces of words of a hundred languages.
    from producer.replay.encodings import likeliest_encodings

    found = likeliest_encodings(file)
    if len(found.names) == 1:
        name = found.names[0]
        return Encoding(name, f"is not UTF-8 (first in line {line}); read as {name}, which fits its words best")
    if not found.names:
        return Encoding("utf-8", doubt=f"from line {line} on it is no text in any encoding that is known here")
    one, other = (f"{name} ({word!r})" for name, word in zip(found.names, found.words, strict=True))
    return Encoding(
        "utf-8",
        doubt=f"it is not UTF-8 (first in line {line}) and may be {one} or {other}; say which, such as "
        f"`--encoding {found.names[0]}`, or save it as UTF-8 (Excel: Save as, CSV UTF-8)",
    )


def _word_against(file: BinaryIO, told: str) -> str:
    """Return what speaks against a file's having the encoding that a person told; empty where nothing does."""
    if told.startswith("utf"):
        return ""
    _, bad, good = _counted(file)
    # Short texts in encodings of two bytes a character can be UTF-8 by chance: it is said, not refused.
    return f"is read as {told}, as was asked, but is UTF-8 throughout" if good and not bad else ""


def _counted(file: BinaryIO) -> tuple[int, int, int]:
    """Return the first line that is not UTF-8, and how many characters beyond ASCII are not and are."""
    file.seek(0)
    decoder = codecs.getincrementaldecoder("utf-8")(_HANDLER)
    first = lines = bad = good = 0
    while bad - good < _CLEAR and (chunk := file.read(_CHUNK)):
        text = decoder.decode(chunk)
        if not text.isascii():
            found = text.count(UNDECODABLE)
            if found and not first:
                first = lines + text.count("\n", 0, text.index(UNDECODABLE)) + 1
            bad += found
            good += sum(1 for _ in _BEYOND.finditer(text)) - found
        lines += text.count("\n")
    bad += UNDECODABLE in decoder.decode(b"", final=True)
    return first or lines + 1, bad, good
