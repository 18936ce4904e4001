"""Fit a router to a catalog: kernel logistic regression on the catalog's own texts, calibrated by leaving one out.

A ridge solution (closed form) is the start, a few damped Newton steps with its inverse sharpen it to the logistic loss.
Leave-one-out scores follow from the dual coefficients (Rifkin and Lippert 2007; for the logistic loss to first order),
so the temperature that makes scores into probabilities, and the threshold below which a question is foreign, come from
the user's own examples; nothing is held out.
"""

from __future__ import annotations

import ctypes
import logging
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from agentic_flywheel.catalog import Catalog
from agentic_flywheel.errors import EncoderUnavailable
from agentic_flywheel.routing.alignment import Alignment
from agentic_flywheel.routing.belonging import UNDOUBTED, belonging_of
from agentic_flywheel.routing.corpus import Corpus, Kind, corpus_of
from agentic_flywheel.routing.encoder import Encoder, StaticEncoder, table_for
from agentic_flywheel.routing.features import WordIndex, clip, grams
from agentic_flywheel.routing.rarity import Rarity, rarity_of
from agentic_flywheel.routing.router import Calibration, FittedRouter, flow_starts, kernel
from agentic_flywheel.routing.store import FitStore
from agentic_flywheel.routing.words import words

logger = logging.getLogger(__name__)

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float32]

#: Penalty of the coefficients, and the curvature of the loss that the Newton steps assume.
_PENALTY, _CURVATURE = 0.02, 0.1
_STEPS, _MOMENTUM = 15, 0.5
#: The curvature at an example that is left out: small, since most are then still decided.
_LEFT_OUT_CURVATURE = 0.005
#: How much a text of each kind is believed; a user's own example is 1.
_TRUST: dict[Kind, float] = {"example": 1.0, "topic": 1.0, "name": 1.0, "keyword": 0.5, "description": 0.5}
#: Temperatures tried, and the one believed before any example is seen, as if so many examples had asked for it.
_TEMPERATURES = np.exp(np.linspace(-1.0, 2.5, 71))
_USUAL_TEMPERATURE, _PSEUDO_EXAMPLES = 2.0, 5.0
#: An example that is left out leaves its intent with one fewer, which the question of a user does not: with few
#: examples, left-out scores look worse than they will be. The temperature is raised by so much, divided by the examples
#: of an intent and the root of the number of intents. Measured with 3 to 10 examples of 5 to 20 intents.
_ONE_FEWER = 5.0
#: The ridge solution's usual temperature, with which the Newton steps begin.
_RIDGE_TEMPERATURE = 15.0
#: The shortcut past the alignment is fitted to the likenesses of about so many texts to so many others.
_FITTED, _NEAREST = 300, 20
#: This share of the catalog's own examples looks foreign when left out.
_FOREIGN_SHARE = 0.05
#: With few examples that threshold is a guess, and is lowered by this, divided by their number plus ten. Measured in
#: five languages with 12 to 50 examples: 1 to 3 % of questions look foreign, and of foreign ones 18 to 48 %.
_GUESSED = 5.0


@dataclass(frozen=True)
class LeftOut:
    """What the rest of the catalog says about each example when that example is left out."""

    #: Scores of the examples (rows) for every intent (columns).
    scores: Matrix
    intents: npt.NDArray[np.int64]
    #: Likeness to the nearest other sample.
    nearest: Matrix


@dataclass(frozen=True)
class Measured:
    """Texts, ready to be compared with others, and their likeness to each other."""

    table: StaticEncoder
    index: WordIndex
    alignment: Alignment
    dense: Vector
    gram: Vector
    #: Alignment as it follows from meaning and wording: a factor for each, and what is added.
    shortcut: tuple[float, float, float]


@dataclass(frozen=True)
class Learned:
    """What a corpus says, and how far that is to be believed."""

    weights: Vector
    #: Of what users ask, and of every text.
    left_out: LeftOut
    every: LeftOut
    calibration: Calibration


def fit_router(catalog: Catalog, *, stronger: Encoder | None = None, cache_dir: Path | None = None) -> FittedRouter:
    """Return the router that the catalog's own texts give.

    A question that it leaves unsure is read again with ``stronger``, where given and where it knows the catalog's
    language. With ``cache_dir`` a fit is stored there by the digest of what it was made from, and read back instead of
    made again; a damaged file is made anew. Where ``stronger`` cannot be asked, the router has no second stage.
    """
    corpus = corpus_of(catalog)
    table = table_for(corpus)
    store = FitStore(cache_dir) if cache_dir is not None else None
    first = _stored_or_fitted(corpus, table, None, store)
    if stronger is None or not knows_language(stronger, table):
        return first
    try:
        return replace(first, stronger=_stored_or_fitted(corpus, table, stronger, store))
    except EncoderUnavailable as away:
        logger.warning("routing has no second stage: %s", away)
        return first


def knows_language(stronger: Encoder, table: StaticEncoder) -> bool:
    """Whether an encoder knows the language of a catalog that is read with ``table``."""
    return table.english or not stronger.english


def _stored_or_fitted(
    corpus: Corpus, table: StaticEncoder, encoder: Encoder | None, store: FitStore | None
) -> FittedRouter:
    if store is not None and (stored := store.load(corpus, table, encoder)) is not None:
        return stored
    began = time.perf_counter()
    router = _fit(corpus, table, encoder)
    _return_memory()
    took = time.perf_counter() - began
    logger.info("routing fitted (%s): %d texts, %.2f s", router.read_by, len(corpus.samples), took)
    if store is not None:
        store.save(router)
    return router


def _return_memory() -> None:
    """Return freed memory to the system. Otherwise glibc keeps about 40 MB of the solver until the process ends."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def _fit(corpus: Corpus, table: StaticEncoder, encoder: Encoder | None) -> FittedRouter:
    texts = [sample.text for sample in corpus.samples]
    measured = measure(texts, table, corpus, encoder)
    learned = learn(measured.gram, corpus)
    return FittedRouter(
        corpus=corpus,
        table=measured.table,
        encoder=encoder,
        index=measured.index,
        alignment=measured.alignment,
        dense=measured.dense,
        weights=learned.weights,
        calibration=learned.calibration,
        shortcut=measured.shortcut,
    )


def measure(texts: Sequence[str], table: StaticEncoder, corpus: Corpus, encoder: Encoder | None = None) -> Measured:
    """Return how alike the texts are, each to each, and what tells how alike another one is to them.

    Tokens are weighed by how much they tell about the intents of ``corpus``.
    """
    texts = [clip(text) for text in texts]
    said = [words(text) for text in texts]
    tokens = [table.tokens(each) for each in said]
    rarity = rarity_of((table.tokens(words(clip(each.text))), each.intent) for each in corpus.samples)
    table = table.weighing(rarity)
    index = WordIndex.of(said, rarity=None if table.english else _rarity_of_parts(corpus))
    alignment = Alignment(tokens, table.table, rarity)
    dense = np.array([table.mean(each) for each in tokens]) if encoder is None else encoder.encode(texts)
    lexical, aligned = np.empty((2, len(texts), len(texts)), np.float32)
    for at, own in enumerate(tokens):
        lexical[at] = index.similarity(said[at])
        aligned[at] = alignment.similarity(own)
    aligned = (aligned + aligned.T) * np.float32(0.5)
    meaning = dense @ dense.T
    shortcut = _shortcut(meaning, lexical, aligned)
    return Measured(table, index, alignment, dense, kernel(encoder or table, lexical, meaning, aligned), shortcut)


def _rarity_of_parts(corpus: Corpus) -> Rarity[str]:
    return rarity_of((grams(words(clip(each.text)), parts=True), each.intent) for each in corpus.samples)


def _shortcut(meaning: Vector, wording: Vector, aligned: Vector) -> tuple[float, float, float]:
    """Return the plane, by least squares, through the likenesses of some texts to the others that are nearest to each.

    Those decide: fitted to all likenesses, the plane makes near texts look nearer than they are.
    """
    some = np.arange(0, len(meaning), max(1, len(meaning) // _FITTED))
    near = meaning[some] + wording[some] / 3
    near[np.arange(len(some)), some] = -np.inf
    texts, nearest = some[:, None], np.argsort(-near, axis=1)[:, : min(_NEAREST, len(meaning) - 1)]
    likeness = np.stack([each[texts, nearest].ravel().astype(np.float64) for each in (meaning, wording, aligned)], 1)
    sides = np.hstack([likeness[:, :2], np.ones((len(likeness), 1))])
    plane = np.linalg.lstsq(sides, likeness[:, 2], rcond=None)[0]
    return float(plane[0]), float(plane[1]), float(plane[2])


def learn(gram: Vector, corpus: Corpus) -> Learned:
    """Return what each sample says for each intent; ``gram`` is the likeness of the corpus's samples."""
    labels = np.array([sample.intent for sample in corpus.samples])
    trust = np.array([_TRUST[sample.kind] for sample in corpus.samples])
    weights = _solve(gram, labels, trust, len(corpus.intents))
    every = _leave_out(gram, weights, trust, labels)
    asked = np.array([sample.asked for sample in corpus.samples])
    left_out = LeftOut(every.scores[asked], every.intents[asked], every.nearest[asked])
    starts = flow_starts(corpus.intents)
    flows = np.searchsorted(starts, labels, side="right")
    calibration = replace(calibrate(left_out, starts), belonging=belonging_of(gram, flows, asked))
    return Learned(weights, left_out, every, calibration)


def _solve(gram: Vector, labels: npt.NDArray[np.int64], trust: Matrix, intents: int) -> Vector:
    """Minimise the trusted logistic loss plus the penalty; each row says what one text speaks for."""
    targets = np.zeros((len(labels), intents), np.float32)
    targets[np.arange(len(labels)), labels] = 1
    inverse: Vector = np.linalg.inv(gram + np.diag(_PENALTY / (_CURVATURE * trust)).astype(np.float32))
    weights: Vector = inverse @ targets * np.float32(_RIDGE_TEMPERATURE)
    penalty: Vector = (_PENALTY / trust).astype(np.float32)[:, None]
    step = np.zeros_like(weights)
    for _ in range(_STEPS):
        chances = gram @ weights
        chances -= chances.max(1, keepdims=True)
        np.exp(chances, out=chances)
        chances /= chances.sum(1, keepdims=True)
        step = np.float32(_MOMENTUM) * step - inverse @ (chances - targets + penalty * weights) / np.float32(_CURVATURE)
        weights = weights + step
    return weights


def _leave_out(gram: Vector, weights: Vector, trust: Matrix, labels: npt.NDArray[np.int64]) -> LeftOut:
    ridge = _PENALTY / (_LEFT_OUT_CURVATURE * trust)
    own = 1 / np.diag(np.linalg.inv(gram + np.diag(ridge).astype(np.float32))) - ridge
    scores = (gram @ weights - weights * own[:, None].astype(np.float32)).astype(np.float64)
    others = gram - np.diag(np.full(len(gram), np.inf, np.float32))
    return LeftOut(scores, labels, others.max(1).astype(np.float64))


def calibrate(left_out: LeftOut, starts: npt.NDArray[np.int64]) -> Calibration:
    """Return the temperature and the novelty threshold that suit the left-out scores."""
    best = float("inf")
    temperature = _USUAL_TEMPERATURE
    count = len(left_out.intents)
    truth = np.searchsorted(starts, left_out.intents, side="right") - 1
    for candidate in _TEMPERATURES:
        loss = _PSEUDO_EXAMPLES * float(np.log(candidate / _USUAL_TEMPERATURE)) ** 2
        if count:
            scaled = left_out.scores * candidate
            scaled -= scaled.max(1, keepdims=True)
            flows = np.add.reduceat(np.exp(scaled), starts, axis=1)
            loss -= float(np.log(flows[np.arange(count), truth] / flows.sum(1) + 1e-12).sum())
        if loss < best:
            best, temperature = loss, float(candidate)
    if count:
        intents = len(np.unique(left_out.intents))
        temperature *= 1 + _ONE_FEWER * math.sqrt(intents) / count
    if count < 2:
        # Nothing to measure by: nothing is foreign.
        return Calibration(temperature, (0.0, 1.0), (0.0, 1.0), -100.0, UNDOUBTED)
    top = left_out.scores.max(1)
    usual = Calibration(temperature, _spread(top), _spread(left_out.nearest), 0.0, UNDOUBTED)
    seen = [usual.familiarity(score, near) for score, near in zip(top, left_out.nearest, strict=True)]
    return replace(usual, foreign_below=float(np.quantile(seen, _FOREIGN_SHARE)) - _GUESSED / (count + 10))


def _spread(values: Matrix) -> tuple[float, float]:
    return float(values.mean()), max(float(values.std()), 1e-3)
