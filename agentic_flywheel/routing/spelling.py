"""Mend mistyped words: one edit away from a word of the catalog, or else from a common one."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping

#: Shorter words have too many neighbours; longer ones are not words.
_SHORTEST, _LONGEST = 3, 24
#: A word of a higher rank may be a slip, and gives way to a word of the catalog.
_RARE = 15_000
#: Words that were looked at are remembered, up to so many.
_REMEMBERED = 20_000


class Speller:
    """Knows the catalog's words and the common ones. A word that either knows is never touched."""

    def __init__(self, catalog: Mapping[str, float], common: Mapping[str, int]) -> None:
        """``catalog`` gives a word's rarity in the catalog, ``common`` its rank in the language: low is usual."""
        self._catalog = catalog
        self._common = common
        self._seen: dict[str, str] = {}

    def mend(self, text: str, said: list[str]) -> str:
        """Return ``text`` with the mistyped ones of its words mended; the very same text where there are none."""
        for word in said:
            if word in self._catalog or self._common.get(word, _RARE) < _RARE:
                continue
            mended = self._mended(word)
            if mended != word:
                text = text.lower().replace(word, mended, 1)
        return text

    def _mended(self, word: str) -> str:
        if not _SHORTEST <= len(word) <= _LONGEST:
            return word
        mended = self._seen.get(word)
        if mended is None:
            mended = self._nearest(word)
            if len(self._seen) < _REMEMBERED:
                self._seen[word] = mended
        return mended

    def _nearest(self, word: str) -> str:
        if not word.isascii() or any(letter.isdigit() for letter in word):
            return word
        near = dict.fromkeys(_edits(word))
        by_catalog = [other for other in near if other in self._catalog and len(other) >= _SHORTEST]
        if by_catalog:
            return min(by_catalog, key=self._catalog.__getitem__)
        if word in self._common:
            return word
        by_rank = [other for other in near if len(other) > _SHORTEST and other in self._common]
        return min(by_rank, key=self._common.__getitem__, default=word)


def _edits(word: str) -> Iterator[str]:
    """Every string one swap, omission, exchange or insertion away, in the order in which they are believed."""
    splits = [(word[:at], word[at:]) for at in range(len(word) + 1)]
    for head, tail in splits:
        if len(tail) > 1:
            yield head + tail[1] + tail[0] + tail[2:]
    for head, tail in splits:
        if tail:
            yield head + tail[1:]
    for head, tail in splits:
        for letter in string.ascii_lowercase:
            yield head + letter + tail
            if tail:
                yield head + letter + tail[1:]
