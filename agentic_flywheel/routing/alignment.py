"""How alike two texts are when each word of one looks for its nearest word in the other.

The mean of a text's token vectors forgets which words it had. Here every token of a question is matched with the
closest token of a sample and the other way round (as BERTScore does, Zhang et al. 2020), weighted by how rare it is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]

#: Tokens are remembered with their likeness to all samples, up to so many numbers (4 bytes each).
_REMEMBERED = 3_000_000


class Alignment:
    """The tokens of a set of texts, ready to be aligned with a question's."""

    def __init__(self, texts: Sequence[Sequence[int]], table: npt.NDArray[np.int8]) -> None:
        self.size = len(texts)
        self._table = table
        # A text without tokens aligns with nothing; one stand-in token keeps its place.
        whole = [list(text) or [0] for text in texts]
        counts = Counter(token for text in whole for token in dict.fromkeys(text))
        self._rarity = {token: math.sqrt(self._idf(count)) for token, count in counts.items()}
        self._unseen = math.sqrt(self._idf(0))
        self._tokens = np.array(sorted(counts))
        self._flat = np.searchsorted(self._tokens, np.concatenate([np.array(text) for text in whole]))
        self._starts = np.concatenate([[0], np.cumsum([len(text) for text in whole])[:-1]]).astype(np.int64)
        weights = np.array([self._rarity[int(token)] for token in self._tokens], np.float32)[self._flat]
        self._flat_weights = weights / np.repeat(
            np.add.reduceat(weights, self._starts), np.diff([*self._starts.tolist(), len(weights)])
        )
        self._rows: dict[int, tuple[Vector, Vector]] = {}

    def _idf(self, count: int) -> float:
        return math.log((1 + self.size) / (1 + count)) + 1

    @cached_property
    def _vectors(self) -> Vector:
        return self._unit(self._tokens)

    def _unit(self, tokens: npt.NDArray[np.int64]) -> Vector:
        vectors = self._table[tokens].astype(np.float32)
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        unit: Vector = vectors / np.maximum(lengths, np.float32(1e-9))[:, None]
        return unit

    def similarity(self, tokens: Sequence[int]) -> Vector:
        """Return how well a question's tokens align with every text, about -1..1."""
        if not tokens:
            return np.zeros(self.size, np.float32)
        rarity = [self._rarity.get(token, self._unseen) for token in tokens]
        rows = [self._row(token) for token in tokens]
        total = sum(rarity)
        to_texts = rows[0][1] * np.float32(rarity[0] / total)
        best = rows[0][0]
        for weight, (near, row) in zip(rarity[1:], rows[1:], strict=True):
            to_texts += row * np.float32(weight / total)
            best = np.maximum(best, near)
        from_texts = np.add.reduceat(best[self._flat] * self._flat_weights, self._starts)
        result: Vector = (to_texts + from_texts) * np.float32(0.5)
        return result

    def _row(self, token: int) -> tuple[Vector, Vector]:
        """Return a token's likeness to each known token, and to the nearest token of each text."""
        row = self._rows.get(token)
        if row is None:
            near = self._vectors @ self._unit(np.array([token]))[0]
            row = near, np.maximum.reduceat(near[self._flat], self._starts)
            if len(self._rows) * (len(near) + self.size) < _REMEMBERED:
                self._rows[token] = row
        return row
