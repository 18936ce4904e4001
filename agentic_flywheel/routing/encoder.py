"""Turn a text into a vector of length one whose direction is its meaning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from agentic_flywheel.routing.corpus import Corpus
from agentic_flywheel.routing.features import clip
from agentic_flywheel.routing.rarity import Rarity, rarity_of
from agentic_flywheel.routing.wordpiece import WordPiece

Vector = npt.NDArray[np.float32]

_DATA = Path(__file__).with_name("data")


class Encoder(Protocol):
    """Anything that gives a text, cut into the package's tokens, a unit vector (zeros where it knows none of them)."""

    #: Names the encoder and its version: a fit made with another one is not reused.
    name: str
    width: int
    #: How much its meaning counts against wording (1) and word-by-word alignment.
    meaning: float
    alignment: float

    def encode(self, tokens: Sequence[int]) -> Vector: ...

    def weighing(self, rarity: Rarity) -> Encoder:
        """Return the encoder for a catalog in which tokens tell so much; itself, where it does not weigh tokens."""
        ...


class StaticEncoder:
    """The mean of per-token vectors from a table: no network, no matrix product, a few microseconds a question."""

    meaning = 3.0
    alignment = 3.0

    def __init__(self, tokenizer: WordPiece, table: npt.NDArray[np.int8], scales: Vector, *, name: str) -> None:
        self.name = name
        self.width = int(table.shape[1])
        self._tokenizer = tokenizer
        self._table = table
        self._scales = scales

    @property
    def table(self) -> npt.NDArray[np.int8]:
        """One row per token; only the direction of a row counts without its scale."""
        return self._table

    @cached_property
    def common_words(self) -> dict[str, int]:
        """The words that have a row of their own, with their rank by frequency."""
        return self._tokenizer.whole_words

    def tokens(self, text: str) -> list[int]:
        """Return the numbers of the table's rows for ``text``."""
        return self._tokenizer.ids(text)

    def weighing(self, rarity: Rarity) -> StaticEncoder:
        """Return this encoder with each token counted by its rarity; they share the table."""
        scales = self._scales * np.float32(rarity.unseen)
        tokens = list(rarity.known)
        scales[tokens] = self._scales[tokens] * np.array(list(rarity.known.values()), np.float32)
        return StaticEncoder(self._tokenizer, self._table, scales, name=self.name)

    def encode(self, tokens: Sequence[int]) -> Vector:
        if not tokens:
            return np.zeros(self.width, np.float32)
        rows = np.array(tokens)
        total: Vector = self._scales[rows] @ self._table[rows]
        length = math.sqrt(float(total @ total))
        return total / np.float32(length) if length else total


@cache
def static_encoder() -> StaticEncoder:
    """Return the encoder that ships with the package, read once per process (8 MB)."""
    with np.load(_DATA / "static.npz", allow_pickle=False) as stored:
        table = stored["q"]
        scales = stored["s"].astype(np.float32).reshape(-1)
    return StaticEncoder(WordPiece.load(_DATA / "wordpiece.txt"), table, scales, name="static-minilm-1")


def token_rarity(corpus: Corpus) -> Rarity:
    """Return how much each token tells in a corpus."""
    return rarity_of((static_encoder().tokens(clip(sample.text)), sample.intent) for sample in corpus.samples)
