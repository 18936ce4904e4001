"""Look at all keys of a family, and at all members of one key, some at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.stored import reading
from agentic_flywheel.errors import RecordUnreadable

#: Keys, members or ids that one step looks at.
PAGE = 500


@contextmanager
def noted(place: str, unreadable: list[str]) -> Iterator[None]:
    """Add a place to the list where the block finds what stands there damaged, and go on."""
    try:
        with reading("key", place):
            yield
    except RecordUnreadable:
        unreadable.append(place)


async def keys_of(batch: Batch, pattern: str) -> AsyncIterator[str]:
    cursor = "0"
    while True:
        cursor, keys = await batch.call("SCAN", cursor, "MATCH", pattern, "COUNT", PAGE)
        for key in keys:
            yield key
        if str(cursor) == "0":
            return


async def members_of(batch: Batch, scan: str, key: str) -> AsyncIterator[tuple[str, str]]:
    cursor = "0"
    while True:
        cursor, flat = await batch.call(scan, key, cursor, "COUNT", PAGE)
        pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
        for member, value in list(pairs):
            yield member, value
        if str(cursor) == "0":
            return


def pages_of(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    return (ids[start : start + PAGE] for start in range(0, len(ids), PAGE))


def number_in(written: str | None) -> float:
    """Return a number that is stored; 0 for what is none."""
    with suppress(ValueError):
        return float(written or 0)
    return 0.0


def text_in(value: Any) -> str:
    """Return a value that should be a text. Raises TypeError."""
    if not isinstance(value, str):
        raise TypeError
    return value
