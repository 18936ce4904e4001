"""The fitted classifier: what a question is about, how sure that is, how foreign it is, and which texts say so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from agentic_flywheel.routing.alignment import Alignment
from agentic_flywheel.routing.corpus import Corpus, Intent, Sample
from agentic_flywheel.routing.encoder import Encoder, static_encoder
from agentic_flywheel.routing.features import WordIndex, clip, words
from agentic_flywheel.routing.keywords import KeywordRules
from agentic_flywheel.routing.spelling import Speller

Vector = npt.NDArray[np.float32]

#: How fast likeness falls off.
_SHARPNESS = 2.0
#: A stronger encoder is asked unless a flow's probability reaches this and the text is at most so foreign.
_SURE, _FAMILIAR = 0.95, 0.1
#: The least probability of a flow: a prior can lift every flow.
_LEAST = 1e-12


@dataclass(frozen=True)
class Calibration:
    """How scores become probabilities, and which are too low to be believed. Measured on left-out examples."""

    temperature: float
    #: Mean and deviation of an example's best score, and of its likeness to the nearest other text.
    score: tuple[float, float]
    nearest: tuple[float, float]
    #: A question less familiar than this is foreign to the catalog.
    foreign_below: float

    def familiarity(self, score: float, nearest: float) -> float:
        """Return how usual a question looks, in deviations: by its best score, and half as much by its nearest text."""
        return (score - self.score[0]) / self.score[1] + (nearest - self.nearest[0]) / self.nearest[1] / 2


@dataclass(frozen=True)
class Reading:
    """What the router makes of one text."""

    #: The text's words as they were written; of a long text, those of its beginning and end.
    words: list[str]
    #: The score of each intent and the probability of each flow, in the router's order.
    scores: list[float]
    chances: list[float]
    #: 0..1; above one half the text is foreign to every example.
    novelty: float
    #: Likeness to every sample; the reason for all of the above.
    likeness: Vector
    #: Who read it: a cascade's second router where the first was not sure.
    reader: FittedRouter

    @property
    def novel(self) -> bool:
        return self.novelty > 0.5

    @property
    def best(self) -> int:
        """The number of the likeliest flow."""
        return self.chances.index(max(self.chances))


@dataclass(frozen=True, eq=False)
class FittedRouter:
    """A classifier of questions into the flows and topics of one catalog. Never changes; a new catalog gets its own."""

    corpus: Corpus
    encoder: Encoder
    index: WordIndex
    alignment: Alignment
    #: The encoder's vector of every sample.
    dense: Vector
    #: What each sample (row) says for each intent (column).
    weights: Vector
    calibration: Calibration
    #: The same catalog fitted with a stronger, slower encoder, for what this one leaves unsure.
    stronger: FittedRouter | None = None

    @cached_property
    def flows(self) -> tuple[str, ...]:
        """The flows in the order of a reading's scores."""
        return tuple(dict.fromkeys(intent.flow for intent in self.corpus.intents))

    @cached_property
    def flow_number(self) -> dict[str, int]:
        return {flow: number for number, flow in enumerate(self.flows)}

    def read(self, text: str) -> Reading:
        """Score ``text``. Bounded work, whatever its length; a text without a known word scores low everywhere."""
        reading = self._read(text)
        if self.stronger is None or (max(reading.chances) >= _SURE and reading.novelty <= _FAMILIAR):
            return reading
        return self.stronger.read(text)

    def mended(self, text: str) -> str:
        """Return the text as it is read: its beginning and end where it is long, mistyped words mended."""
        text = clip(text)
        return self._speller.mend(text, words(text))

    def _read(self, text: str) -> Reading:
        written = clip(text)
        said = words(written)
        text = self._speller.mend(written, said)
        tokens = static_encoder().tokens(text)
        likeness = kernel(
            self.encoder,
            self.index.similarity(said if text is written else words(clip(text))),
            self.dense @ self.encoder.encode(tokens),
            self.alignment.similarity(tokens),
        )
        # Plain numbers from here on: there are few, and a call of numpy costs more than its work on them.
        scores: list[float] = (likeness @ self.weights).tolist()
        best, temperature = max(scores), self.calibration.temperature
        odds = [0.0] * len(self.flows)
        for flow, score in zip(self._flow_of, scores, strict=True):
            odds[flow] += math.exp((score - best) * temperature)
        total = sum(odds)
        margin = self.calibration.familiarity(best, float(likeness.max())) - self.calibration.foreign_below
        return Reading(
            words=said,
            scores=scores,
            chances=[each / total + _LEAST for each in odds],
            novelty=1.0 / (1.0 + math.exp(min(max(margin, -30.0), 30.0))),
            likeness=likeness,
            reader=self,
        )

    def topic(self, reading: Reading, flow: str) -> Intent:
        """Return the most likely intent of ``flow``."""
        return self.corpus.intents[self._best_intent(reading, flow)]

    def contributions(self, reading: Reading, flow: str, count: int = 3) -> list[tuple[Sample, float]]:
        """Return the samples that speak most for ``flow``, each with its part of the score in log-odds."""
        reader = reading.reader
        part = reading.likeness * reader.weights[:, self._best_intent(reading, flow)] * reader.calibration.temperature
        found: list[tuple[Sample, float]] = []
        for _ in range(count):
            number = int(part.argmax())
            if part[number] <= 0:
                break
            found.append((self.corpus.samples[number], float(part[number])))
            part[number] = 0
        return found

    def _best_intent(self, reading: Reading, flow: str) -> int:
        return max(self._intents_of[flow], key=reading.scores.__getitem__)

    @cached_property
    def _flow_of(self) -> list[int]:
        """The number of each intent's flow."""
        return [self.flow_number[intent.flow] for intent in self.corpus.intents]

    @cached_property
    def _intents_of(self) -> dict[str, list[int]]:
        """The numbers of each flow's intents."""
        found: dict[str, list[int]] = {flow: [] for flow in self.flows}
        for number, intent in enumerate(self.corpus.intents):
            found[intent.flow].append(number)
        return found

    @cached_property
    def _speller(self) -> Speller:
        return Speller(self.index.rarity, static_encoder().common_words)

    @cached_property
    def keywords(self) -> KeywordRules:
        return KeywordRules(self.corpus.keywords)


def kernel(encoder: Encoder, wording: Vector, meaning: Vector, aligned: Vector) -> Vector:
    """Join three likenesses (cosines) into one, 1 for the same text."""
    joined: Vector = encoder.meaning * meaning
    joined += wording
    joined += encoder.alignment * aligned
    joined /= 1 + encoder.meaning + encoder.alignment
    joined -= 1
    joined *= _SHARPNESS
    return np.exp(joined, out=joined)


def flow_starts(intents: Sequence[Intent]) -> npt.NDArray[np.int64]:
    """Return where each flow's run of intents begins."""
    return np.array([at for at, each in enumerate(intents) if not at or intents[at - 1].flow != each.flow], np.int64)
