"""Cut text into the WordPiece tokens of an uncased BERT vocabulary, in plain Python."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from itertools import chain, islice
from pathlib import Path

#: Words seen are remembered, up to so many: a vocabulary of questions is small, a stream of random text is not.
_REMEMBERED = 20_000
#: BERT's own limit: a longer "word" is one unknown token.
_LONGEST_WORD = 100
_IDEOGRAPHS = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2FA1F))

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

    @property
    def whole_words(self) -> dict[str, int]:
        """The tokens that are words of two letters or more, with their numbers: the lower, the commoner."""
        return {token: number for token, number in self._ids.items() if len(token) > 1 and token.isalpha()}

    def ids(self, text: str, limit: int = 256) -> list[int]:
        """Return the token numbers of ``text``, at most ``limit``, without the start and end tokens."""
        pieces = (self._seen.get(word) or self._remembered(word) for word in words(text))
        return list(islice(chain.from_iterable(pieces), limit))

    def _remembered(self, word: str) -> tuple[int, ...]:
        pieces = self._pieces(word)
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


def words(text: str) -> list[str]:
    """Return the words and punctuation marks of ``text`` as BERT's uncased pre-tokenizer cuts them."""
    text = text.lower()
    if text.isascii():
        return _ASCII_PIECE.findall(text)
    text = "".join(each for each in unicodedata.normalize("NFD", text) if unicodedata.category(each) != "Mn")
    return "".join(f" {each} " if _stands_alone(each) else each for each in text).split()


def _stands_alone(char: str) -> bool:
    if char.isascii():
        return not char.isalnum()
    point = ord(char)
    return unicodedata.category(char)[0] == "P" or any(first <= point <= last for first, last in _IDEOGRAPHS)
