"""How alike two texts are when each word of one looks for its nearest word in the other.

The mean of a text's token vectors forgets which words it had. Here every token of a question is matched with the
closest token of a sample and the other way round (as BERTScore does, Zhang et al. 2020), weighted by how rare it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from agentic_flywheel.routing.encoder import VectorTable
from agentic_flywheel.routing.rarity import Rarity

Vector = npt.NDArray[np.float32]
Row = tuple[float, npt.NDArray[np.int8], npt.NDArray[np.int8]]

#: Tokens are remembered with their likeness to all samples, up to so many bytes.
_REMEMBERED = 12_000_000
#: Likeness of two tokens is kept in steps of 1/127, in one byte.
_STEPS = 127


class Alignment:
    """The tokens of a set of texts, ready to be aligned with a question's."""

    def __init__(self, texts: Sequence[Sequence[int]], table: VectorTable, rarity: Rarity[int]) -> None:
        self.size = len(texts)
        self._table = table
        # A text without tokens aligns with nothing; one stand-in token keeps its place.
        whole = [list(text) or [0] for text in texts]
        self._rarity = rarity
        self._tokens = np.array(sorted({token for text in whole for token in text}))
        self._flat = np.searchsorted(self._tokens, np.concatenate([np.array(text) for text in whole]))
        self._starts = np.concatenate([[0], np.cumsum([len(text) for text in whole])[:-1]]).astype(np.int64)
        weights = np.array([self._weight(int(token)) for token in self._tokens], np.float32)[self._flat]
        # Half of the likeness comes from this side.
        self._flat_weights: Vector = (
            weights
            / np.float32(2 * _STEPS)
            / np.repeat(np.add.reduceat(weights, self._starts), np.diff([*self._starts.tolist(), len(weights)]))
        )
        self._rows: dict[int, Row] = {}

    def _weight(self, token: int) -> float:
        return math.sqrt(self._rarity.of(token))

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
        weights, near, rows = zip(*[self._rows.get(token) or self._row(token) for token in tokens], strict=True)
        told = np.array(weights, np.float32)
        to_texts: Vector = (told * np.float32(0.5 / _STEPS / sum(weights))) @ np.array(rows)
        best = np.maximum.reduce(near).astype(np.float32)
        to_texts += np.add.reduceat(best.take(self._flat, mode="clip") * self._flat_weights, self._starts)
        return to_texts

    def _row(self, token: int) -> Row:
        """Return a token's weight, its likeness to each known token, and to the nearest token of each text."""
        weight = self._weight(token)
        near = np.rint(self._vectors @ self._unit(np.array([token]))[0] * _STEPS).astype(np.int8)
        row = weight, near, np.maximum.reduceat(near[self._flat], self._starts)
        if len(self._rows) * (near.nbytes + row[2].nbytes) < _REMEMBERED:
            self._rows[token] = row
        return row
