"""The fitted classifier: what a question is about, how sure that is, how foreign it is, and which texts say so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from agentic_flywheel.routing.corpus import Corpus, Intent, Sample
from agentic_flywheel.routing.encoder import Encoder
from agentic_flywheel.routing.features import NgramIndex, clip, words

Vector = npt.NDArray[np.float32]

#: The share of meaning (encoder) against wording (n-grams), and how fast likeness falls off.
_MEANING, _SHARPNESS = 2.0, 2.0


@dataclass(frozen=True)
class Calibration:
    """How scores become probabilities, and which are too low to be believed. Measured on left-out examples."""

    temperature: float
    #: A question whose best score is below this is foreign to the catalog.
    foreign_below: float
    #: How quickly novelty passes from 0 to 1 around that threshold.
    foreign_spread: float


@dataclass(frozen=True)
class Reading:
    """What the router makes of one text."""

    #: Logarithm of the probability of each intent and of each flow, in the router's order.
    intents: Vector
    flows: Vector
    #: 0..1; above one half the text is foreign to every example.
    novelty: float
    #: Likeness to every sample; the reason for all of the above.
    likeness: Vector

    @property
    def novel(self) -> bool:
        return self.novelty > 0.5


@dataclass(frozen=True, eq=False)
class FittedRouter:
    """A classifier of questions into the flows and topics of one catalog. Never changes; a new catalog gets its own."""

    corpus: Corpus
    encoder: Encoder
    index: NgramIndex
    #: The encoder's vector of every sample.
    dense: Vector
    #: What each sample (row) says for each intent (column).
    weights: Vector
    calibration: Calibration

    @cached_property
    def flows(self) -> tuple[str, ...]:
        """The flows in the order of a reading's scores."""
        return tuple(dict.fromkeys(intent.flow for intent in self.corpus.intents))

    @cached_property
    def flow_number(self) -> dict[str, int]:
        return {flow: number for number, flow in enumerate(self.flows)}

    @cached_property
    def starts(self) -> npt.NDArray[np.int64]:
        """Where the intents of each flow begin."""
        return flow_starts(self.corpus.intents)

    def read(self, text: str) -> Reading:
        """Score ``text``. Bounded work, whatever its length; a text without a known word scores low everywhere."""
        text = clip(text)
        likeness = kernel(self.index.similarity(text), self.dense @ self.encoder.encode(text))
        scores = likeness @ self.weights
        best = float(scores.max())
        logits = (scores - best) * self.calibration.temperature
        odds = np.exp(logits)
        total = float(odds.sum())
        flows = np.log(np.add.reduceat(odds, self.starts) / total + 1e-12)
        margin = (best - self.calibration.foreign_below) / self.calibration.foreign_spread
        return Reading(
            intents=logits - math.log(total),
            flows=flows,
            novelty=1.0 / (1.0 + math.exp(min(max(2 * margin, -30.0), 30.0))),
            likeness=likeness,
        )

    def topic(self, reading: Reading, flow: str) -> Intent:
        """Return the most likely intent of ``flow``."""
        return self.corpus.intents[self._best_intent(reading, flow)]

    def contributions(self, reading: Reading, flow: str, count: int = 3) -> list[tuple[Sample, float]]:
        """Return the samples that speak most for ``flow``, each with its part of the score in log-odds."""
        part = reading.likeness * self.weights[:, self._best_intent(reading, flow)] * self.calibration.temperature
        order = np.argsort(-part, kind="stable")[:count]
        return [(self.corpus.samples[number], float(part[number])) for number in order if part[number] > 0]

    def _best_intent(self, reading: Reading, flow: str) -> int:
        number = self.flow_number[flow]
        first = int(self.starts[number])
        last = int(self.starts[number + 1]) if number + 1 < len(self.flows) else len(self.corpus.intents)
        return first + int(reading.intents[first:last].argmax())

    @cached_property
    def _rules(self) -> dict[str, list[tuple[tuple[str, ...], int, str]]]:
        rules: dict[str, list[tuple[tuple[str, ...], int, str]]] = {}
        for flow, keywords in self.corpus.keywords.items():
            for keyword in dict.fromkeys(keywords):
                said = tuple(words(keyword))
                if said:
                    rules.setdefault(said[0], []).append((said, self.flow_number[flow], keyword))
        return rules

    def keywords_in(self, text: str) -> list[tuple[int, str]]:
        """Return the keywords that occur in ``text`` as whole words, each with its flow's number."""
        if not self._rules:
            return []
        said = words(clip(text))
        found: dict[tuple[int, str], None] = {}
        for at, word in enumerate(said):
            for keyword, flow, written in self._rules.get(word, ()):
                if tuple(said[at : at + len(keyword)]) == keyword:
                    found[flow, written] = None
        return list(found)


def kernel(lexical: Vector, meaning: Vector) -> Vector:
    """Join likeness of wording and of meaning (cosines) into one, 1 for the same text."""
    joined = (lexical + _MEANING * meaning) / (1 + _MEANING)
    result: Vector = np.exp(_SHARPNESS * (joined - 1))
    return result


def flow_starts(intents: Sequence[Intent]) -> npt.NDArray[np.int64]:
    """Return where each flow's run of intents begins."""
    return np.array([at for at, each in enumerate(intents) if not at or intents[at - 1].flow != each.flow], np.int64)
