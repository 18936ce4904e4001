"""How near a text's meaning is to that of each known text: what its tokens add, summed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from agentic_flywheel.routing.encoder import StaticEncoder

Vector = npt.NDArray[np.float32]

#: Tokens are remembered with what they add to each known text where that is so many numbers at most: for more texts,
#: one product of the text's vector is as quick.
_WIDEST = 1_000
#: So many tokens at most; a text with others is compared as a whole.
_REMEMBERED = 2_000
_FULL = -1


class Meaning:
    """Known texts by their vectors, ready to be compared with the mean of a text's token vectors."""

    def __init__(self, table: StaticEncoder, dense: Vector) -> None:
        """``dense`` has the unit vector of each known text; ``table`` that of a token."""
        self._table = table
        self._dense = dense
        width = dense.shape[1] + len(dense)
        # Memory that is not yet written to costs nothing.
        self._rows: Vector | None = np.empty((_REMEMBERED, width), np.float32) if width <= _WIDEST else None
        self._places: dict[int, int] = {}
        # Threads read at the same time: a number is given once, and a row is complete before its number is known.
        self._free = iter(range(_REMEMBERED if self._rows is not None else 0))

    def similarity(self, tokens: Sequence[int]) -> Vector:
        """Return the cosine of a text, given as its tokens, with every known one; zeros for a text without tokens."""
        rows, known = self._rows, self._places
        places = [known[token] if token in known else self._place(token) for token in tokens]
        if rows is None or not places or _FULL in places:
            return self._dense @ self._table.mean(tokens)
        total: Vector = np.add.reduce(rows.take(places, 0), 0)
        own, others = total[: self._dense.shape[1]], total[self._dense.shape[1] :]
        length = math.sqrt(float(own @ own))
        if length:
            others *= np.float32(1 / length)
        return others

    def _place(self, token: int) -> int:
        place = next(self._free, _FULL)
        if place != _FULL and self._rows is not None:
            vector = self._table.vector(token)
            self._rows[place, : len(vector)] = vector
            self._rows[place, len(vector) :] = self._dense @ vector
            self._places[token] = place
        return place
