"""Mend mistyped words: one edit away from a word of the catalog, or else from a common one."""

from __future__ import annotations

import math
import string
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import product

import regex  # type: ignore[import-untyped]

from agentic_flywheel.routing.alphabets import Alphabets
from agentic_flywheel.routing.encoder import StaticEncoder, pieces_of_languages
from agentic_flywheel.routing.words import bare, typed

#: Shorter words have too many neighbours; longer ones are not words.
_SHORTEST, _LONGEST = 3, 24
#: A word of a higher rank may be a slip, and gives way to a word of the catalog.
_RARE = 15_000
#: A word is tried in so many ways at most, each of which takes some 20 µs, and has to be likelier by so much (nats)
#: than as it was typed. Measured in 14 languages: of 100 words that are changed so, 84 become what was meant.
_MOST_VARIANTS, _FAR_LIKELIER = 64, 2.0
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
        self._with_accents: dict[str, str] = {}
        self._alphabets = Alphabets(catalog)

    def accented(self, said: list[str], written: str) -> list[str]:
        """Return the words of a text as they are written, in the catalog's alphabet; else the very same list.

        One typed without accents gets them: first as the catalog writes them, as collation does for searches (UTS 10);
        others as the table knows them. Where a text has accents, a letter without one is meant, but for a capital I,
        which Turkish writes for the dotless ı too.
        """
        if not self._english:
            said = self._alphabets.rewritten(said)
        known, plain = self._accented, all(map(str.isascii, said))
        if not known or ("I" not in written and not plain):
            return said
        by_table = plain and not self._english
        found = [known.get(word) or (self._restored(word) if by_table else word) for word in said]
        return said if found == said else found

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

    def _restored(self, word: str) -> str:
        """Return a word that neither catalog nor table knows with accents, where it is far likelier so."""
        found = self._with_accents.get(word)
        if found is None:
            found = word
            variants = [self._variants.get(letter, letter) for letter in word]
            unknown = word not in self._catalog and self._rank(word) is None
            if unknown and 1 < math.prod(map(len, variants)) <= _MOST_VARIANTS:
                cost = {each: pieces_of_languages().cost([each]) for each in map("".join, product(*variants))}
                likeliest = min(cost, key=cost.__getitem__)
                found = likeliest if cost[likeliest] + _FAR_LIKELIER < cost[word] else word
            if len(self._with_accents) < _REMEMBERED:
                self._with_accents[word] = found
        return found

    @cached_property
    def _variants(self) -> dict[str, str]:
        """The letters of the catalog by the plain one that is typed for them, which comes first."""
        found: dict[str, str] = {}
        for letter in sorted({letter for word in self._accented.values() for letter in word if not letter.isascii()}):
            plain = bare(letter)
            if len(plain) == 1 and plain != letter:
                found[plain] = found.get(plain, plain) + letter
        return found

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
