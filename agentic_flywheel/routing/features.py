"""How alike two texts are by the words they share: tf-idf over words and pairs of neighbouring words."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]

#: A question's routing is decided by its beginning and its end; work per question stays bounded.
_HEAD, _TAIL = 1500, 500
#: A gram that more than one text in so many holds is kept as a whole row: adding that is quicker than picking. So is
#: every gram where there are few texts.
_SPARSE, _FEW = 24, 128
_WORD = re.compile(r"[^\W_]+")


def clip(text: str) -> str:
    """Return ``text``, or its beginning and end where it is long."""
    return text if len(text) <= _HEAD + _TAIL else f"{text[:_HEAD]} {text[-_TAIL:]}"


def words(text: str) -> list[str]:
    """Return the words of ``text``, case and accents removed."""
    text = text.lower()
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text)
        text = "".join(each for each in text if not unicodedata.combining(each))
    return _WORD.findall(text)


def grams(said: list[str]) -> list[str]:
    """Return the words of a text and the pairs of neighbours."""
    return [*said, *map(" ".join, pairwise(said))]


class WordIndex:
    """The words and pairs of words of a set of texts, with the texts that contain each."""

    def __init__(
        self,
        vocabulary: Sequence[str],
        idf: Vector,
        starts: npt.NDArray[np.int64],
        texts: npt.NDArray[np.int32],
        weights: Vector,
        size: int,
    ) -> None:
        self.vocabulary = vocabulary
        self.idf = idf
        #: Where each gram's postings begin; one more entry than there are grams.
        self.starts = starts
        self.texts = texts
        self.weights = weights
        #: How many texts are indexed.
        self.size = size
        self._postings = {
            gram: self._posting(float(own), texts[first:last], weights[first:last])
            for gram, own, first, last in zip(vocabulary, idf, starts[:-1], starts[1:], strict=True)
        }

    def _posting(
        self, idf: float, texts: npt.NDArray[np.int32], weights: Vector
    ) -> tuple[float, npt.NDArray[np.int32] | None, Vector]:
        """Return a gram's squared weight, its texts and what it adds to them; None for texts means: to all of them."""
        if len(texts) * _SPARSE < self.size and self.size > _FEW:
            return idf * idf, texts, weights * np.float32(idf)
        row = np.zeros(self.size, np.float32)
        row[texts] = weights * np.float32(idf)
        return idf * idf, None, row

    @classmethod
    def of(cls, texts: Sequence[str]) -> WordIndex:
        """Index ``texts``; idf is smoothed as if one more text held every gram."""
        held = [Counter(grams(words(clip(text)))) for text in texts]
        counts = Counter(gram for each in held for gram in each)
        idf = {gram: math.log((1 + len(texts)) / (1 + count)) + 1 for gram, count in counts.items()}
        number = {gram: at for at, gram in enumerate(counts)}
        column: list[int] = []
        row: list[int] = []
        value: list[float] = []
        for at, each in enumerate(held):
            length = math.sqrt(sum((times * idf[gram]) ** 2 for gram, times in each.items()))
            column += [number[gram] for gram in each]
            row += [at] * len(each)
            value += [times * idf[gram] / length for gram, times in each.items()]
        columns = np.array(column, np.int64)
        order = np.argsort(columns, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(columns, minlength=len(counts)))]).astype(np.int64)
        postings = np.array(row, np.int32)[order], np.array(value, np.float32)[order]
        return cls(tuple(counts), np.array(list(idf.values()), np.float32), starts, *postings, len(texts))

    @cached_property
    def rarity(self) -> dict[str, float]:
        """The single words with their idf."""
        return {gram: float(idf) for gram, idf in zip(self.vocabulary, self.idf, strict=True) if " " not in gram}

    def similarity(self, said: list[str]) -> Vector:
        """Return the cosine of a text, given as its words, with every indexed one, by the grams that are known."""
        found = [
            (posting, times)
            for gram, times in Counter(grams(said)).items()
            if (posting := self._postings.get(gram)) is not None
        ]
        if not found:
            return np.zeros(self.size, np.float32)
        few = [(texts, added * times) for (_, texts, added), times in found if texts is not None]
        rows = [added if times == 1 else added * times for (_, texts, added), times in found if texts is None]
        if few:
            # One call for all of them: on so few numbers a call costs more than its work.
            texts, added = map(np.concatenate, zip(*few, strict=True))
            rows.append(np.bincount(texts, added, self.size).astype(np.float32))
        total: Vector = np.add.reduce(rows)
        total *= np.float32(1 / math.sqrt(sum(weight * times * times for (weight, _, _), times in found)))
        return total
