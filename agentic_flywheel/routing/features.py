"""How alike two texts are by what they share, weighed by tf-idf: words and their pairs, or words and their parts."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import regex  # type: ignore[import-untyped]

from agentic_flywheel.routing.rarity import Rarity
from agentic_flywheel.routing.words import unspaced

Vector = npt.NDArray[np.float32]

#: A question's routing is decided by its beginning and its end; work per question stays bounded.
_HEAD, _TAIL = 1500, 500
#: A gram that more than one text in so many holds is kept as a whole row: adding that is quicker than picking. Where
#: all rows together have no more numbers than this (4 MB), every gram is, in one table.
_SPARSE, _DENSE = 24, 1_000_000
#: Parts of words are so many letters long; shorter words have none.
_PARTS, _HAS_PARTS = (3, 4), 4
#: Characters of a script without spaces count with so many in a row.
_NEIGHBOURS = (2, 3)
_HANGUL = regex.compile(r"\p{Hangul}+")


def clip(text: str) -> str:
    """Return ``text``, or its beginning and end where it is long."""
    return text if len(text) <= _HEAD + _TAIL else f"{text[:_HEAD]} {text[-_TAIL:]}"


def grams(said: list[str], *, parts: bool = False) -> list[str]:
    """Return the words of a text with the pairs of neighbours; with ``parts``, with the parts of words instead.

    Parts find a stem under its endings, and a word within a compound. A Korean syllable counts as its two or three
    letters. Where words are written without spaces, two and three neighbouring characters stand for a word.
    """
    if not parts:
        return [*said, *map(" ".join, pairwise(said))]
    found = list(said)
    apart = [not unspaced(word) for word in said]
    if not all(apart):
        found += [
            " ".join(said[at : at + size])
            for size in _NEIGHBOURS
            for at in range(len(said) - size + 1)
            if not any(apart[at : at + size])
        ]
    for word in said:
        letters = unicodedata.normalize("NFD", word) if _HANGUL.fullmatch(word) else word
        if len(letters) >= _HAS_PARTS:
            found += [f"_{letters[at : at + size]}" for size in _PARTS for at in range(len(letters) - size + 1)]
    return found


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
        *,
        parts: bool,
    ) -> None:
        self.vocabulary = vocabulary
        self.idf = idf
        #: Where each gram's postings begin; one more entry than there are grams.
        self.starts = starts
        self.texts = texts
        self.weights = weights
        #: How many texts are indexed.
        self.size = size
        self._parts = parts
        self._squares = (idf.astype(np.float64) ** 2).tolist()
        self._number = {gram: number for number, gram in enumerate(vocabulary)}
        self._dense: Vector | None = None
        self._postings: list[tuple[npt.NDArray[np.int32] | None, Vector]] = []
        if len(vocabulary) * size <= _DENSE:
            self._dense = np.zeros((len(vocabulary), size), np.float32)
            rows = np.repeat(np.arange(len(vocabulary)), np.diff(starts))
            self._dense[rows, texts] = weights * idf[rows]
        else:
            self._postings = [
                self._posting(own, texts[first:last], weights[first:last])
                for own, first, last in zip(idf, starts[:-1], starts[1:], strict=True)
            ]

    def _posting(
        self, idf: np.float32, texts: npt.NDArray[np.int32], weights: Vector
    ) -> tuple[npt.NDArray[np.int32] | None, Vector]:
        """Return a gram's texts and what it adds to them; None for texts means: to all of them."""
        if len(texts) * _SPARSE < self.size:
            return texts, weights * idf
        row = np.zeros(self.size, np.float32)
        row[texts] = weights * idf
        return None, row

    @classmethod
    def of(cls, texts: Sequence[list[str]], *, rarity: Rarity[str] | None = None) -> WordIndex:
        """Index texts, given as their words; idf is smoothed as if one more text held every gram.

        With ``rarity``, words have parts, and each gram counts by its rarity besides.
        """
        parts = rarity is not None
        counted = [Counter(grams(said, parts=parts)) for said in texts]
        counts = Counter(gram for each in counted for gram in each)
        idf = {gram: math.log((1 + len(texts)) / (1 + count)) + 1 for gram, count in counts.items()}
        if rarity is not None:
            idf = {gram: own * rarity.of(gram) for gram, own in idf.items()}
        number = {gram: at for at, gram in enumerate(counts)}
        column: list[int] = []
        row: list[int] = []
        value: list[float] = []
        for at, each in enumerate(counted):
            length = math.sqrt(sum((times * idf[gram]) ** 2 for gram, times in each.items()))
            column += [number[gram] for gram in each]
            row += [at] * len(each)
            value += [times * idf[gram] / length for gram, times in each.items()]
        columns = np.array(column, np.int64)
        order = np.argsort(columns, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(columns, minlength=len(counts)))]).astype(np.int64)
        postings = np.array(row, np.int32)[order], np.array(value, np.float32)[order]
        return cls(tuple(counts), np.array(list(idf.values()), np.float32), starts, *postings, len(texts), parts=parts)

    @cached_property
    def rarity(self) -> dict[str, float]:
        """The single words with their idf."""
        return {
            gram: float(idf)
            for gram, idf in zip(self.vocabulary, self.idf, strict=True)
            if " " not in gram and gram[0] != "_"
        }

    def similarity(self, said: list[str]) -> Vector:
        """Return the cosine of a text, given as its words, with every indexed one, by the grams that are known."""
        number = self._number
        found = [number[gram] for gram in grams(said, parts=self._parts) if gram in number]
        if not found:
            return np.zeros(self.size, np.float32)
        squares = self._squares
        once = len(found) == len(set(found))
        # A gram that is said twice is added twice, and counts four times in the text's length.
        length = sum([squares[at] for at in found]) if once else _squared_length(found, squares)
        total: Vector = np.add.reduce(self._dense.take(found, 0), 0) if self._dense is not None else self._sum(found)
        total *= np.float32(1 / math.sqrt(length))
        return total

    def _sum(self, found: Sequence[int]) -> Vector:
        postings = [self._postings[at] for at in found]
        few = [(texts, added) for texts, added in postings if texts is not None]
        rows = [added for texts, added in postings if texts is None]
        if few:
            # One call for all of them: on so few numbers a call costs more than its work.
            texts, added = map(np.concatenate, zip(*few, strict=True))
            rows.append(np.bincount(texts, added, self.size).astype(np.float32))
        total: Vector = np.add.reduce(rows)
        return total


def _squared_length(found: Sequence[int], squares: Sequence[float]) -> float:
    return sum(squares[at] * times * times for at, times in Counter(found).items())
