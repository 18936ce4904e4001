"""Mend mistyped words: one edit away from a word of the catalog, or else from a common one."""

from __future__ import annotations

import string
from collections.abc import Container, Iterator

from agentic_flywheel.routing.features import words

#: Shorter words have too many neighbours; longer ones are not words.
_SHORTEST, _LONGEST = 3, 24
#: Words that were looked at are remembered, up to so many.
_REMEMBERED = 20_000


class Speller:
    """Knows the catalog's words and the common ones. A word that either knows is never touched."""

    def __init__(self, catalog: Container[str], common: dict[str, int]) -> None:
        """``common`` gives a word's rank: the lower, the commoner."""
        self._catalog = catalog
        self._common = common
        self._seen: dict[str, str] = {}

    def mend(self, text: str) -> str:
        """Return ``text`` with its mistyped words mended; the very same text where there are none."""
        for word in words(text):
            mended = self._mended(word)
            if mended != word:
                text = text.lower().replace(word, mended, 1)
        return text

    def _mended(self, word: str) -> str:
        if word in self._catalog or word in self._common or not _SHORTEST <= len(word) <= _LONGEST:
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
        # Among several the commonest; a word that only the catalog knows before all of them.
        if by_catalog:
            return min(by_catalog, key=lambda other: self._common.get(other, 0))
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
