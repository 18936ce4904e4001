"""The ids that a source gives its questions: as numbers, and which of them come again."""

from __future__ import annotations

import hashlib
from array import array

from producer.replay.items import ReplayItem


def id_hash(item_id: str) -> int:
    """Return a number of 64 bits that stands for an id."""
    return int.from_bytes(hashlib.blake2b(item_id.encode(errors="replace"), digest_size=8).digest(), "big")


class ItemIds:
    """Which ids of items come again. Memory holds sixteen bytes an item."""

    def __init__(self) -> None:
        self._hashes, self._numbers = array("Q"), array("Q")

    def add(self, item: ReplayItem) -> None:
        self._hashes.append(id_hash(item.id))
        self._numbers.append(item.number)

    def again(self) -> str:
        """Return, in words, how many ids are given to several items, and for example to which; empty where none is."""
        import numpy as np  # where it is needed: to list ten questions takes less time than to import it

        if not self._hashes:
            return ""
        hashes, numbers = np.frombuffer(self._hashes, np.uint64), np.frombuffer(self._numbers, np.uint64)
        found, counts = np.unique(hashes, return_counts=True)
        several = found[counts > 1]
        if not len(several):
            return ""
        first = hashes[np.isin(hashes, several).argmax()]
        places = ", ".join(map(str, numbers[hashes == first][:3]))
        told = "one id" if len(several) == 1 else f"{len(several)} ids"
        return f"{told} to several questions (numbers {places}): `diff` tells them apart by their numbers alone"
