"""How alike two texts are by the words and letters they share: tf-idf over word and character n-grams."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]

#: A question's routing is decided by its beginning and its end; work per question stays bounded.
_HEAD, _TAIL = 1500, 500
_WORD = re.compile(r"[^\W_]+")
_CHARACTERS = (3, 4, 5)


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


def grams(text: str) -> tuple[list[str], list[str]]:
    """Return the word n-grams (1 and 2) and the character n-grams (3 to 5, within words) of ``text``."""
    found = words(text)
    by_word = [f"w:{word}" for word in found]
    by_word += [f"b:{first} {second}" for first, second in pairwise(found)]
    by_character: list[str] = []
    for word in found:
        padded = f" {word} "
        for size in _CHARACTERS:
            by_character += [padded[at : at + size] for at in range(len(padded) - size + 1)]
    return by_word, by_character


class NgramIndex:
    """The n-grams of a set of texts, with the texts that contain each."""

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
        #: Where each n-gram's postings begin; one more entry than there are n-grams.
        self.starts = starts
        self.texts = texts
        self.weights = weights
        #: How many texts are indexed.
        self.size = size
        self._number = {gram: number for number, gram in enumerate(vocabulary)}

    @classmethod
    def of(cls, texts: Sequence[str]) -> NgramIndex:
        """Index ``texts``; idf is smoothed as if one more text held every n-gram."""
        counts: Counter[str] = Counter()
        for text in texts:
            by_word, by_character = grams(clip(text))
            counts.update(dict.fromkeys(by_word + by_character, 1))
        idf = np.array([math.log((1 + len(texts)) / (1 + count)) + 1 for count in counts.values()], np.float32)
        empty = np.zeros(0, np.int32)
        index = cls(tuple(counts), idf, np.zeros(len(counts) + 1, np.int64), empty, np.zeros(0, np.float32), len(texts))
        rows = [index.vector(text) for text in texts]
        column = np.concatenate([numbers for numbers, _ in rows] or [np.zeros(0, np.int64)])
        row = np.repeat(np.arange(len(rows), dtype=np.int32), [len(numbers) for numbers, _ in rows])
        value = np.concatenate([values for _, values in rows] or [np.zeros(0, np.float32)])
        order = np.argsort(column, kind="stable")
        index.texts, index.weights = row[order], value[order]
        index.starts = np.concatenate([[0], np.cumsum(np.bincount(column, minlength=len(counts)))]).astype(np.int64)
        return index

    def vector(self, text: str) -> tuple[npt.NDArray[np.int64], Vector]:
        """Return the numbers and weights of the known n-grams of ``text``; the weights have length one."""
        numbers: list[int] = []
        parts: list[Vector] = []
        for block in grams(clip(text)):
            known = [(self._number[gram], count) for gram, count in Counter(block).items() if gram in self._number]
            if not known:
                continue
            ids = [number for number, _ in known]
            part = np.array([1 + math.log(count) for _, count in known], np.float32) * self.idf[ids]
            parts.append(part / np.float32(math.sqrt(float(part @ part))))
            numbers += ids
        if not parts:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        # Each block has length one, so the whole has the square root of their number.
        return np.array(numbers), np.concatenate(parts) / np.float32(math.sqrt(len(parts)))

    def similarity(self, text: str) -> Vector:
        """Return the cosine of ``text`` with every indexed text."""
        numbers, values = self.vector(text)
        if not len(numbers):
            return np.zeros(self.size, np.float32)
        spans = [slice(first, last) for first, last in zip(self.starts[numbers], self.starts[numbers + 1], strict=True)]
        texts = np.concatenate([self.texts[span] for span in spans])
        weights = np.concatenate([self.weights[span] for span in spans])
        own = np.repeat(values, [span.stop - span.start for span in spans])
        return np.bincount(texts, weights=weights * own, minlength=self.size).astype(np.float32)
