"""Turn a text into a vector of length one whose direction is its meaning."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from agentic_flywheel.routing.corpus import Corpus
from agentic_flywheel.routing.pieces import Pieces, runs
from agentic_flywheel.routing.rarity import Rarity
from agentic_flywheel.routing.wordpiece import WordPiece
from agentic_flywheel.routing.words import bare, respelled, words

Vector = npt.NDArray[np.float32]

_DATA = Path(__file__).with_name("data")
_MULTILINGUAL = _DATA / "multilingual.npz"
#: Texts are taken for English where this share of their words is in the English vocabulary. Measured: English 0.94 to
#: 0.99, French 0.5, German 0.4, others less.
_ENGLISH = 0.72
#: One flow of at least so many examples with a lower share is in another language; so is its registry, then.
_ENGLISH_FLOW, _FEWEST = 0.55, 3
#: What a word adds to "this text is English", in units of a word that neither the English vocabulary nor the catalog
#: knows, which takes one away; a text above zero is English. Words of the vocabulary add what ``english.bin`` has for
#: each, in steps of 1/64 from 128. Fitted (logistic regression) to pieces of one to six words of CLINC150's and
#: BANKING77's training parts, and to sentences in 30 languages (``home-assistant-intents``).
_STEPS, _ZERO = 64, 128
_BEGIN, _CATALOG, _UNKNOWN = 0.13, 1.0, -1.0
#: A word that was mended may have been a slip or another language's word: it says little, towards the catalog's words.
_MENDED, _MENDED_TO_CATALOG = 0.0, 0.36


class Encoder(Protocol):
    """A model that gives each text a unit vector. It reads again what the first router is unsure of."""

    #: Names the encoder and its version: a fit made with another one is not reused.
    name: str
    #: Weights of the likeness of its vectors, and of the word-by-word alignment; the likeness of wording has weight 1.
    meaning: float
    alignment: float
    #: Whether it knows English only.
    english: bool

    def encode(self, texts: Sequence[str]) -> Vector:
        """Return one row for each text. Raises EncoderUnavailable where the model cannot be asked."""
        ...


class Tokenizer(Protocol):
    """Cuts words into the rows of a table."""

    def tokens(self, said: Sequence[str]) -> list[int]: ...

    def rank(self, word: str) -> int | None: ...


class VectorTable(Protocol):
    """A vector (row) of whole numbers for each token; only as many as are asked for are in memory as such."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, tokens: Any, /) -> npt.NDArray[np.int8]:
        """Return the row of a token, or one for each of many."""
        ...


class HalfBytes:
    """A table whose numbers, from -8 to 7, stand two in a byte: half of the memory of one with a byte for each."""

    #: The two numbers of each byte, side by side in one of two bytes.
    _PAIRS = (np.stack(np.divmod(np.arange(256), 16), 1) - 8).astype(np.int8).view(np.int16).ravel()

    def __init__(self, packed: npt.NDArray[np.uint8]) -> None:
        self._packed = packed
        self.shape = (len(packed), 2 * packed.shape[1])

    def __getitem__(self, tokens: Any, /) -> npt.NDArray[np.int8]:
        numbers: npt.NDArray[np.int8] = self._PAIRS.take(self._packed.take(tokens, 0)).view(np.int8)
        return numbers


class StaticEncoder:
    """The mean of per-token vectors from a table: no network, no matrix product, a few microseconds a question."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        table: VectorTable,
        scales: Vector,
        *,
        name: str,
        english_words: Mapping[str, float] | None = None,
        meaning: float = 3.0,
        alignment: float = 3.0,
    ) -> None:
        """Take a vector (row) and a scale for each token; only the direction of a row counts without its scale.

        ``english_words``, of a table that knows English only, says what each word adds to "this text is English".
        """
        self.name = name
        self.english = english_words is not None
        self.english_words = english_words
        self.width = table.shape[1]
        self.meaning, self.alignment = meaning, alignment
        self.table = table
        self.tokens = tokenizer.tokens
        #: How many tokens are more frequent than a word; None for a word that is no token of its own.
        self.rank = tokenizer.rank
        self._tokenizer = tokenizer
        self._scales = scales

    def weighing(self, rarity: Rarity[int]) -> StaticEncoder:
        """Return this encoder with each token counted by its rarity; they share the table."""
        scales = self._scales * np.float32(rarity.unseen)
        tokens = list(rarity.known)
        scales[tokens] = self._scales[tokens] * np.array(list(rarity.known.values()), np.float32)
        return StaticEncoder(
            self._tokenizer,
            self.table,
            scales,
            name=self.name,
            english_words=self.english_words,
            meaning=self.meaning,
            alignment=self.alignment,
        )

    def understands(self, said: Sequence[str], mended: Sequence[str], catalog: Container[str]) -> bool:
        """Whether a text's words mean something here, or to the ``catalog``; of an English one, whether it is English.

        ``said`` are the words as they were typed, ``mended`` the same with their spelling mended. Numbers mean nothing,
        nor do the parts into which words of another language are cut.
        """
        if self.english_words is None:
            return any(word in catalog for word in mended) or bool(self.tokens([w for w in mended if not w.isdigit()]))
        told, plain = self.english_words, "".join(mended).isascii()
        english, counted = _BEGIN, False
        for typed, word in zip(runs(said), runs(mended), strict=True):
            known = word if plain else bare(word)
            if known not in told and not _of_a_language(word):
                continue
            counted = True
            if typed != word:
                # No slip where it is a word of another language: "ist", "mein".
                slip = min(told.get(bare(typed), 0.0), 0.0)
                english += slip or (_MENDED_TO_CATALOG if word in catalog else _MENDED)
            elif word in catalog:
                # A word that other languages use more says nothing, though the catalog has it: "die", "in".
                english += _CATALOG if known not in told or told[known] >= 0 else 0.0
            else:
                english += told.get(known, _UNKNOWN)
        return english > 0 if counted else any(word in catalog for word in mended)

    def vector(self, token: int) -> Vector:
        """Return what a token adds to the vector of its text."""
        added: Vector = self.table[token] * self._scales[token]
        return added

    def mean(self, tokens: Sequence[int]) -> Vector:
        """Return the unit vector of a text, given as its tokens; zeros where there are none."""
        if not tokens:
            return np.zeros(self.width, np.float32)
        rows = np.array(tokens)
        total: Vector = self._scales[rows] @ self.table[rows]
        length = math.sqrt(float(total @ total))
        return total / np.float32(length) if length else total


def static_encoder(texts: Iterable[str]) -> StaticEncoder:
    """Return the table that suits texts: the English one, or the one of a hundred languages."""
    return _english() if english_share(texts) >= _ENGLISH else _multilingual()


def table_for(corpus: Corpus) -> StaticEncoder:
    """Return the table that suits a corpus: the English one where no flow is asked in another language."""
    asked: dict[str, list[str]] = defaultdict(list)
    for sample in corpus.samples:
        if sample.asked:
            asked[corpus.intents[sample.intent].flow].append(sample.text)
    foreign = any(len(own) >= _FEWEST and english_share(own) < _ENGLISH_FLOW for own in asked.values())
    return _multilingual() if foreign else static_encoder(sample.text for sample in corpus.samples)


def english_share(texts: Iterable[str]) -> float:
    """Return the share of the words of texts that the English vocabulary has; 1 where there are none."""
    known = counted = 0
    english = _english_words()
    for text in texts:
        said = [word for word in words(text) if _of_a_language(word)]
        counted += len(said)
        known += sum(english.rank(word) is not None for word in said)
    return known / counted if counted else 1.0


def is_english(text: str) -> bool:
    """Whether a text's words are more frequent in English than in all languages together."""
    said = words(text)
    return _english().understands(said, said, ())


def _of_a_language(word: str) -> bool:
    """Numbers, single letters and names such as C++ are of none."""
    return not word.isascii() or (len(word) > 1 and word.isalnum() and not word.isdigit())


@cache
def _english_words() -> WordPiece:
    return WordPiece.load(_DATA / "wordpiece.txt")


@cache
def _english() -> StaticEncoder:
    """The table distilled from all-MiniLM-L6-v2, read once per process (8 MB)."""
    with np.load(_DATA / "static.npz", allow_pickle=False) as stored:
        table = stored["q"]
        scales = stored["s"].astype(np.float32).reshape(-1)
    vocabulary, told = _english_words(), (_DATA / "english.bin").read_bytes()
    added = [(step - _ZERO) / _STEPS for step in range(256)]
    english_words = {word: added[told[rank]] for word, rank in vocabulary.whole_words()}
    return StaticEncoder(vocabulary, table, scales, name="static-minilm-2", english_words=english_words)


@cache
def _multilingual() -> StaticEncoder:
    """The table derived from multilingual-e5-small, read once per process by those who need it.

    It takes 22 to 30 MB with one language, and 44 MB once all scripts were asked for.
    """
    with np.load(_MULTILINGUAL, allow_pickle=False) as stored:
        table = HalfBytes(stored["q"])
        scales = stored["s"].astype(np.float32)
    # Fewer examples and more forms of each word than in English: what texts share as letters counts for more.
    return StaticEncoder(pieces_of_languages(), table, scales, name="static-e5-2", meaning=2.5, alignment=2.5)


@cache
def pieces_of_languages() -> Pieces:
    """The pieces of words of a hundred languages, the most frequent first."""
    with np.load(_MULTILINGUAL, allow_pickle=False) as stored:
        return Pieces(respelled(bytes(stored["words"]).decode()).encode())
