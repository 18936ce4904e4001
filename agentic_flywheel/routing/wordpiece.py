"""Cut text into the WordPiece tokens of an uncased BERT vocabulary, in plain Python."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from agentic_flywheel.routing.words import bare

#: Words seen are remembered, up to so many: a vocabulary of questions is small, a stream of random text is not.
_REMEMBERED = 20_000
#: BERT's own limit: a longer "word" is one unknown token.
_LONGEST_WORD = 100

_ASCII_PIECE = re.compile(r"[a-z0-9]+|[^a-z0-9\s]")


class WordPiece:
    """The greedy longest-match tokenizer of BERT (Wu et al. 2016), lower-casing and stripping accents."""

    def __init__(self, vocabulary: Iterable[str]) -> None:
        self._ids = {token: index for index, token in enumerate(vocabulary)}
        self.unknown = self._ids["[UNK]"]
        self.start = self._ids["[CLS]"]
        self.end = self._ids["[SEP]"]
        self._seen: dict[str, tuple[int, ...]] = {}

    @classmethod
    def load(cls, path: Path) -> WordPiece:
        """Read a vocabulary file: one token a line, its number is its line."""
        return cls(path.read_text(encoding="utf-8").split("\n"))

    def rank(self, word: str) -> int | None:
        """Return how many tokens are more frequent than ``word``; None where it is no token of its own."""
        return self._ids.get(word) if len(word) > 1 and word.isalpha() else None

    def whole_words(self) -> Iterator[tuple[str, int]]:
        """Yield the words that are tokens of their own, each with its rank."""
        return ((word, at) for word, at in self._ids.items() if self.rank(word) is not None)

    def tokens(self, said: Sequence[str], limit: int = 256) -> list[int]:
        """Return the token numbers of a text, given as its words; a word in another alphabet has none."""
        seen = self._seen
        found: list[int] = []
        for word in said:
            if len(found) >= limit:
                break
            found += seen[word] if word in seen else self._remembered(word)
        return found[:limit]

    def ids(self, text: str, limit: int) -> list[int]:
        """Return the token numbers of ``text`` as the model reads it, punctuation marks included."""
        return self.tokens(_model_words(text), limit)

    def _remembered(self, word: str) -> tuple[int, ...]:
        plain = bare(word)
        pieces = self._pieces(plain) if plain.isascii() else ()
        if len(self._seen) < _REMEMBERED:
            self._seen[word] = pieces
        return pieces

    def _pieces(self, word: str) -> tuple[int, ...]:
        if len(word) > _LONGEST_WORD:
            return (self.unknown,)
        pieces: list[int] = []
        begin = 0
        while begin < len(word):
            prefix = "##" if begin else ""
            for end in range(len(word), begin, -1):
                token = self._ids.get(prefix + word[begin:end])
                if token is not None:
                    pieces.append(token)
                    begin = end
                    break
            else:
                return (self.unknown,)
        return tuple(pieces)


def _model_words(text: str) -> list[str]:
    """Return the words and punctuation marks of ``text`` as BERT's uncased pre-tokenizer cuts them."""
    text = unicodedata.normalize("NFD", text.lower())
    return _ASCII_PIECE.findall("".join(each for each in text if each.isascii()))
