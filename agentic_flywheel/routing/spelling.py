"""Mend mistyped words: one edit away from a word of the catalog, or else from a common one."""

from __future__ import annotations

import string
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cached_property

import regex  # type: ignore[import-untyped]

from agentic_flywheel.routing.encoder import StaticEncoder
from agentic_flywheel.routing.words import bare, typed

#: Shorter words have too many neighbours; longer ones are not words.
_SHORTEST, _LONGEST = 3, 24
#: A word of a higher rank may be a slip, and gives way to a word of the catalog.
_RARE = 15_000
#: Words that were looked at are remembered, up to so many.
_REMEMBERED = 20_000
#: Alphabets whose letters stand for single sounds, so that a slip changes one letter of a word.
_ALPHABETS = regex.compile(r"\p{Latin}+|\p{Cyrillic}+|\p{Greek}+|\p{Armenian}+|\p{Georgian}+")


class Speller:
    """Knows the catalog's words and the common ones. A word that either knows is never touched."""

    def __init__(self, catalog: Mapping[str, float], table: StaticEncoder) -> None:
        """``catalog`` gives a word's rarity in the catalog; ``table`` knows the common words."""
        self._catalog = catalog
        self._rank = table.rank
        self._english = table.english
        self._seen: dict[str, str] = {}

    def accented(self, said: list[str], written: str) -> list[str]:
        """Return the words of a text typed without accents as the catalog writes them; else the very same list.

        So does collation for searches (UTS 10). Where a text has accents, a letter without one is meant, but for a
        capital I, which Turkish writes for the dotless ı too.
        """
        known = self._accented
        if not known or known.keys().isdisjoint(said) or ("I" not in written and not all(map(str.isascii, said))):
            return said
        return [known.get(word, word) for word in said]

    def mend(self, said: list[str]) -> list[str]:
        """Return the words of a text as they are meant; the very same list where nothing is mistyped."""
        mended = said
        for at, word in enumerate(said):
            if word in self._catalog:
                continue
            meant = self._seen.get(word) or self._remembered(word)
            if meant != word:
                mended = said.copy() if mended is said else mended
                mended[at] = meant
        return mended

    @cached_property
    def _accented(self) -> dict[str, str]:
        """The catalog's accented words by what is typed for them without accents."""
        return {
            plain: word
            for word in self._catalog
            for plain in (bare(word), typed(word))
            if plain != word and plain not in self._catalog
        }

    @cached_property
    def _letters(self) -> dict[str, str]:
        """The letters of the catalog's words, by alphabet."""
        found: dict[str, set[str]] = defaultdict(set, LATIN=set(string.ascii_lowercase))
        for word in self._catalog:
            if _is_of_an_alphabet(word):
                found[_alphabet(word)].update(word)
        return {alphabet: "".join(sorted(letters)) for alphabet, letters in found.items()}

    def _remembered(self, word: str) -> str:
        mended = self._nearest(word)
        if len(self._seen) < _REMEMBERED:
            self._seen[word] = mended
        return mended

    def _nearest(self, word: str) -> str:
        rank = self._rank(word)
        if not _SHORTEST <= len(word) <= _LONGEST or not _is_of_an_alphabet(word):
            return word
        if rank is not None and (rank < _RARE or not self._english):
            return word
        letters = self._letters.get(_alphabet(word), "")
        near = dict.fromkeys(_edits(word, letters))
        by_catalog = [other for other in near if other in self._catalog and len(other) >= _SHORTEST]
        if by_catalog:
            return min(by_catalog, key=self._catalog.__getitem__)
        if rank is not None or not self._english:
            return word
        by_rank = {other: found for other in near if len(other) > _SHORTEST and (found := self._rank(other))}
        return min(by_rank, key=by_rank.__getitem__, default=word)


def _is_of_an_alphabet(word: str) -> bool:
    return word.isalpha() if word.isascii() else _ALPHABETS.fullmatch(word) is not None


def _alphabet(word: str) -> str:
    return unicodedata.name(word[0]).split()[0]


def _edits(word: str, letters: str) -> Iterator[str]:
    """Every string one swap, omission, exchange or insertion away, in the order in which they are believed."""
    splits = [(word[:at], word[at:]) for at in range(len(word) + 1)]
    for head, tail in splits:
        if len(tail) > 1:
            yield head + tail[1] + tail[0] + tail[2:]
    for head, tail in splits:
        if tail:
            yield head + tail[1:]
    for head, tail in splits:
        for letter in letters:
            yield head + letter + tail
            if tail:
                yield head + letter + tail[1:]
