"""Cut words into the pieces of a vocabulary, the likeliest way (a unigram model, Kudo 2018), in plain Python."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

import numpy as np

from agentic_flywheel.routing.words import unspaced

#: Words seen are remembered, up to so many: a vocabulary of questions is small, a stream of random text is not.
_REMEMBERED = 20_000
#: No piece is longer; a word or a run without spaces is read up to so many characters.
_LONGEST_PIECE, _LONGEST_WORD = 16, 200
#: The last part of a compound has so many letters at least, and what precedes it.
_LAST_WORD, _FIRST_PART = 5, 4
#: Log-likelihood of a character that no piece contains.
_UNKNOWN = -30.0


class Pieces:
    """A vocabulary whose pieces are ordered by how often they occur.

    A piece that starts with ``##`` continues a word. In a script without spaces a piece may stand anywhere.
    """

    def __init__(self, vocabulary: bytes) -> None:
        """Take the pieces in UTF-8, one a line."""
        text = np.frombuffer(vocabulary + b"\n", np.uint8)
        self._text = vocabulary
        self._ends = np.flatnonzero(text == ord("\n")).astype(np.int32)
        self._starts = np.concatenate([[0], self._ends[:-1] + 1]).astype(np.int32)
        #: The first byte of each piece, behind ``##``.
        self._leads = text[self._starts + 2 * (text[self._starts] == ord("#"))]
        #: Pieces by their first byte. An entry takes a hundred bytes, and most scripts are never asked for.
        self._ids: dict[int, dict[bytes, int]] = {}
        self._seen: dict[str, tuple[int, ...]] = {}

    def _from(self, lead: int) -> dict[bytes, int]:
        """Return the numbers of the pieces that start with a byte."""
        if lead not in self._ids:
            # Of two that are spelled as one, the more frequent counts.
            numbers = np.flatnonzero(self._leads == lead)[::-1]
            places = zip(self._starts[numbers].tolist(), self._ends[numbers].tolist(), numbers.tolist(), strict=True)
            self._ids[lead] = {self._text[begin:end]: number for begin, end, number in places}
        return self._ids[lead]

    def rank(self, word: str) -> int | None:
        """Return how many pieces are more frequent than ``word``; None where it is no piece of its own."""
        text = word.encode()
        return self._from(text[0]).get(text)

    def tokens(self, said: Sequence[str]) -> list[int]:
        """Return the numbers of the pieces of a text, given as its words."""
        return [piece for run in runs(said) for piece in self._seen.get(run) or self._remembered(run)]

    def cost(self, said: Sequence[str]) -> float:
        """Return the negative log-likelihood of a text, given as its words."""
        return sum(self._likeliest(run[:_LONGEST_WORD])[0] for run in runs(said))

    def _remembered(self, run: str) -> tuple[int, ...]:
        _, pieces = self._likeliest(run[:_LONGEST_WORD])
        if len(self._seen) < _REMEMBERED:
            self._seen[run] = pieces
        return pieces

    def _likeliest(self, run: str) -> tuple[float, tuple[int, ...]]:
        """Viterbi over the ways to cut ``run``: the cost of the best, and its pieces. Other characters are left out."""
        text = run.encode()
        whole = self._from(text[0]).get(text)
        if whole is not None:
            return _cost(whole), (whole,)
        anywhere = unspaced(run)
        places = range(len(text) + 1) if run.isascii() else [0, *accumulate(len(char.encode()) for char in run)]
        beginning = [self._from(text[place]) for place in places[:-1]]
        best: list[tuple[float, int, int | None]] = [(0.0, 0, None)]
        for end in range(1, len(run) + 1):
            likely, came, taken = best[end - 1][0] + _UNKNOWN, end - 1, None
            for begin in range(max(0, end - _LONGEST_PIECE), end):
                part, ids = text[places[begin] : places[end]], beginning[begin]
                piece = ids.get(part) if anywhere or not begin else ids.get(b"##" + part)
                # Many a piece is in the vocabulary only as it continues words.
                piece = ids.get(b"##" + part) if piece is None and not begin else piece
                if begin >= _FIRST_PART and end == len(run) and end - begin >= _LAST_WORD:
                    # The last part of a compound may be better known as a word of its own: Jahres|urlaub.
                    piece = min(filter(None, (piece, ids.get(part))), default=piece)
                if piece is not None and (score := best[begin][0] - _cost(piece)) > likely:
                    likely, came, taken = score, begin, piece
            best.append((likely, came, taken))
        found, at = [], len(run)
        while at:
            _, came, taken = best[at]
            if taken is not None:
                found.append(taken)
            at = came
        return -best[-1][0], tuple(reversed(found))


def _cost(number: int) -> float:
    """The n-th most frequent piece has about this negative log-probability: Zipf's law, fitted to the vocabulary."""
    return 2.0 + math.log(2 + number)


def runs(said: Sequence[str]) -> Iterable[str]:
    """Return the words of a text, neighbouring characters of scripts without spaces joined."""
    return said if "".join(said).isascii() else _joined(said)


def _joined(said: Sequence[str]) -> Iterator[str]:
    run = ""
    for word in said:
        if unspaced(word):
            run += word
            continue
        if run:
            yield run
            run = ""
        yield word
    if run:
        yield run
