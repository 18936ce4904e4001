"""A sample that is the same whenever it is drawn from the same questions, and leaves conversations whole."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator

from producer.replay.items import ReplayItem


class ItemSample:
    """Keeps ``size`` items of a stream. A conversation is drawn as one, since a turn alone is another question.

    Each question or conversation has a number by the hash of its name, and those with the lowest numbers are kept
    (Broder 1997, "min-wise"): memory holds the sample and no more, and the draw needs no second pass.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._count = 0
        self._kept: dict[str, list[ReplayItem]] = {}
        self._highest: list[tuple[int, str]] = []
        #: From here on numbers are not drawn any more.
        self._limit = 1 << 64

    def add(self, item: ReplayItem) -> None:
        """Draw an item, or not."""
        name = f"session {item.session_id}" if item.session_id else f"item {item.id}"
        drawn = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")
        if drawn >= self._limit:
            return
        if name not in self._kept:
            self._kept[name] = []
            heapq.heappush(self._highest, (-drawn, name))
        self._kept[name].append(item)
        self._count += 1
        # The highest goes where the others are enough without it.
        while self._count - len(self._kept[self._highest[0][1]]) >= self._size:
            highest, leaving = heapq.heappop(self._highest)
            self._limit = -highest
            self._count -= len(self._kept.pop(leaving))

    def items(self) -> Iterator[ReplayItem]:
        """Yield what was drawn, in the order of its source, at most ``size``: the last conversation may be cut."""
        last = self._highest[0][1] if self._highest else ""
        excess = max(0, self._count - self._size)
        kept = [
            item
            for name, items in self._kept.items()
            for item in (items[:-excess] if name == last and excess else items)
        ]
        yield from sorted(kept, key=lambda item: item.number)
