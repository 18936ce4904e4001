"""Try a changed catalog on known questions: their likeness to all texts is measured once, each catalog only learned.

The decision is a worker's, but for questions that are fanned out to several domains, and for the session and profile.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from agentic_flywheel.catalog import Catalog
from agentic_flywheel.routing.corpus import Corpus, Sample, corpus_of
from agentic_flywheel.routing.encoder import Vector, table_for
from agentic_flywheel.routing.features import clip
from agentic_flywheel.routing.fit import Learned, learn, measure
from agentic_flywheel.routing.keywords import KeywordRules
from agentic_flywheel.routing.router import flow_starts
from agentic_flywheel.routing.signals import DEFAULT_WEIGHTS
from agentic_flywheel.routing.words import words

Chances = npt.NDArray[np.float64]

#: From how alike examples of two flows usually are (0) to the same text (1): from here on two are much alike. In 33
#: registries of many languages no misrouted example is so like one of the other flow; of near copies nine in ten are.
_ALIKE = 0.4


@dataclass(frozen=True)
class Decision:
    """Where a question would go."""

    #: The flow that it would be asked of, and the one that it resembles most.
    flow: str
    likeliest: str
    confidence: float
    novel: bool
    #: The probability of each flow, in the trial's order.
    chances: Chances


class Likeness:
    """How alike texts are, each to each, to a catalog; whatever is tried has to be among them."""

    def __init__(self, texts: Iterable[str], catalog: Catalog) -> None:
        self.texts = tuple(dict.fromkeys(texts))
        self.number = {text: at for at, text in enumerate(self.texts)}
        corpus = corpus_of(catalog)
        self.table = table_for(corpus)
        self.gram: Vector = measure(self.texts, self.table, corpus).gram

    def between(self, some: Sequence[str], others: Sequence[str]) -> Vector:
        """Return the likeness of some texts (rows) to others (columns), 1 for the same text."""
        part: Vector = self.gram[np.ix_([self.number[each] for each in some], [self.number[each] for each in others])]
        return part


class Trial:
    """One catalog, as a router fitted to it would decide."""

    def __init__(self, catalog: Catalog, likeness: Likeness) -> None:
        """Learn the catalog. Raises KeyError where one of its texts was not measured."""
        self.catalog = catalog
        self.corpus: Corpus = corpus_of(catalog)
        self._likeness = likeness
        self.table = likeness.table
        self._texts = [sample.text for sample in self.corpus.samples]
        self._learned: Learned = learn(likeness.between(self._texts, self._texts), self.corpus)
        self._starts = flow_starts(self.corpus.intents)
        self.flows = tuple(dict.fromkeys(intent.flow for intent in self.corpus.intents))
        self.keywords = KeywordRules(self.corpus, likeness.table)
        self.keyword_weight = (DEFAULT_WEIGHTS | catalog.policy.scoring_weights)["keyword"]

    def flow_of(self, sample: Sample) -> str:
        """Return the flow that a text stands in."""
        return self.corpus.intents[sample.intent].flow

    def decide(self, question: str) -> Decision:
        """Return where a question would go."""
        return self.decisions([question])[0]

    def decisions(self, questions: Sequence[str]) -> list[Decision]:
        """Return where each question would go."""
        if not questions:
            return []
        likeness = self._likeness.between(questions, self._texts)
        scores = (likeness @ self._learned.weights).astype(np.float64)
        calibration = self._learned.calibration
        decided = []
        for question, own, near in zip(questions, scores, likeness.max(1), strict=True):
            chances, named = self._chances(question, own)
            best = int(chances.argmax())
            foreign = calibration.familiarity(float(own.max()), float(near)) < calibration.foreign_below
            novel = foreign and self.flows[best] not in named
            unsure = novel or chances[best] < self.catalog.policy.medium
            flow = self.catalog.default.key if unsure and self.catalog.policy.on_low == "default" else self.flows[best]
            decided.append(Decision(flow, self.flows[best], float(chances[best]), novel, chances))
        return decided

    def place(self, question: str, flow: str) -> str | None:
        """Return the topic of a flow that a question belongs to; None where it resembles no single one."""
        likeness = self._likeness.between([question], self._texts)[0]
        scores = (likeness @ self._learned.weights).astype(np.float64) * self._learned.calibration.temperature
        own = [at for at, intent in enumerate(self.corpus.intents) if intent.flow == flow]
        odds = np.exp(scores[own] - scores[own].max())
        best = int(odds.argmax())
        return self.corpus.intents[own[best]].topic if odds[best] >= odds.sum() / 2 else None

    def contributions(self, question: str, flow: str) -> list[tuple[Sample, float]]:
        """Return what each sample adds to the score of the flow's best intent, in log-odds."""
        likeness = self._likeness.between([question], self._texts)[0]
        scores = likeness @ self._learned.weights
        best = max(
            (at for at, intent in enumerate(self.corpus.intents) if intent.flow == flow), key=lambda at: scores[at]
        )
        parts = likeness * self._learned.weights[:, best] * self._learned.calibration.temperature
        return [(sample, float(part)) for sample, part in zip(self.corpus.samples, parts, strict=True)]

    def alike(self, sample: Sample, flow: str) -> bool:
        """Return whether an example is much like one of another flow."""
        theirs = [each.text for each in self._asked if self.flow_of(each) == flow]
        if not theirs:
            return False
        nearest = float(self._likeness.between([sample.text], theirs).max())
        return nearest - self._usual >= _ALIKE * (1 - self._usual)

    @cached_property
    def _usual(self) -> float:
        """How alike examples of different flows are: the median."""
        flows = np.array([self.flows.index(self.flow_of(each)) for each in self._asked])
        texts = [each.text for each in self._asked]
        between = self._likeness.between(texts, texts)[flows[:, None] != flows]
        return float(np.median(between)) if between.size else 0.0

    @cached_property
    def _asked(self) -> list[Sample]:
        return [sample for sample in self.corpus.samples if sample.asked]

    @cached_property
    def left_out(self) -> list[tuple[Sample, str, float]]:
        """Each example, with the flow that a router learned without it chooses, and the probability of its own flow."""
        return [
            (sample, self.flows[int(chances.argmax())], float(chances[self.flows.index(self.flow_of(sample))]))
            for sample, chances in self.left_out_chances
        ]

    @cached_property
    def left_out_chances(self) -> list[tuple[Sample, Chances]]:
        """Each example, with the probability of each flow by a router that was learned without this example."""
        scores = self._learned.left_out.scores
        return [(sample, self._chances(sample.text, own)[0]) for sample, own in zip(self._asked, scores, strict=True)]

    @cached_property
    def without_keyword(self) -> dict[tuple[str, str], float]:
        """By flow and keyword: the flow's probability for the keyword alone, if it were not listed as a keyword."""
        known = zip(self.corpus.samples, self._learned.every.scores, strict=True)
        return {
            (self.flow_of(sample), sample.text): float(self._by_text(own)[self.flows.index(self.flow_of(sample))])
            for sample, own in known
            if sample.kind == "keyword"
        }

    def _by_text(self, scores: Chances) -> Chances:
        odds = np.exp((scores - scores.max()) * self._learned.calibration.temperature)
        chances: Chances = np.add.reduceat(odds, self._starts) / odds.sum()
        return chances

    def _chances(self, question: str, scores: Chances) -> tuple[Chances, set[str]]:
        logs = np.log(self._by_text(scores) + 1e-12)
        named = set()
        for hit in self.keywords.hits(words(clip(question)), self.keyword_weight):
            logs[self.flows.index(hit.flow)] += hit.weight
            named.add(hit.flow)
        odds = np.exp(logs - logs.max())
        return odds / odds.sum(), named
