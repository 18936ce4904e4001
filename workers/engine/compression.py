"""Read compressed messages, but not such as grow beyond measure: a few kilobytes may stand for gigabytes."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Protocol

from kombu import compression

#: Bytes of a message that is not compressed any more.
LARGEST = 16 * 1024 * 1024


class _Decompressor(Protocol):
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...

    @property
    def eof(self) -> bool: ...


#: By kombu's names of the methods: what makes a decompressor. Others can be asked for no bounded piece.
METHODS: dict[str, Callable[[], _Decompressor]] = {
    "application/x-gzip": zlib.decompressobj,
    "application/x-bz2": bz2.BZ2Decompressor,
    "application/x-lzma": lzma.LZMADecompressor,
}


def bounded(start: Callable[[], _Decompressor]) -> Callable[[bytes], bytes]:
    """Return a function that decompresses at most LARGEST bytes. It raises ValueError for more, and without an end."""

    def decompress(data: bytes) -> bytes:
        decompressor = start()
        text = decompressor.decompress(data, LARGEST + 1)
        if len(text) > LARGEST or not decompressor.eof:
            raise ValueError("it is too large, or its end is missing")
        return text

    return decompress


def bound_decompression() -> None:
    """Have kombu decompress with these bounds in this process, and refuse all other methods."""
    for method in compression.encoders():
        if method in METHODS:
            compression._decoders[method] = bounded(METHODS[method])
        else:
            del compression._decoders[method]
