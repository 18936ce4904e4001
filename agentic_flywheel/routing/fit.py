"""Fit a router to a catalog: one linear solve, and everything that must be measured is measured by leaving one out.

The classifier is kernel ridge regression on one-hot intents. Its leave-one-out predictions have a closed form
(Rifkin and Lippert 2007), so the temperature that makes scores into probabilities, and the threshold below which a
question is foreign, come from the user's own examples; nothing is held out.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from agentic_flywheel.catalog import Catalog
from agentic_flywheel.routing.corpus import Corpus, Kind, corpus_of
from agentic_flywheel.routing.encoder import Encoder, static_encoder
from agentic_flywheel.routing.features import NgramIndex, clip
from agentic_flywheel.routing.router import Calibration, FittedRouter, flow_starts, kernel
from agentic_flywheel.routing.store import FitStore

logger = logging.getLogger(__name__)

Matrix = npt.NDArray[np.float64]

#: Ridge: how much an example may be contradicted by its neighbours.
_RIDGE = 0.1
#: How much a text of each kind is believed; a user's own example is 1.
_TRUST: dict[Kind, float] = {"example": 1.0, "topic": 1.0, "name": 1.0, "keyword": 0.5, "description": 0.5}
#: Temperatures tried, and the one believed before any example is seen, as if so many examples had asked for it.
_TEMPERATURES = np.exp(np.linspace(0.0, 5.0, 101))
_USUAL_TEMPERATURE, _PSEUDO_EXAMPLES = 8.0, 5.0
#: This share of the catalog's own examples looks foreign when left out.
_FOREIGN_SHARE = 0.05


@dataclass(frozen=True)
class LeftOut:
    """What the rest of the catalog says about each example when that example is left out."""

    #: Scores of the examples (rows) for every intent (columns).
    scores: Matrix
    intents: npt.NDArray[np.int64]


def fit_router(catalog: Catalog, *, encoder: Encoder | None = None, cache_dir: Path | None = None) -> FittedRouter:
    """Return the router that the catalog's own texts give.

    ``encoder`` is the static table of the package unless another is given. With ``cache_dir`` a fit is stored there by
    the digest of what it was made from, and read back instead of made again; a damaged file is made anew.
    """
    encoder = encoder or static_encoder()
    corpus = corpus_of(catalog)
    store = FitStore(cache_dir) if cache_dir is not None else None
    if store is not None and (stored := store.load(corpus, encoder)) is not None:
        return stored
    began = time.perf_counter()
    router = _fit(corpus, encoder)
    logger.info(
        "routing fitted: %d flows, %d texts, %.2f s",
        len(router.flows),
        len(corpus.samples),
        time.perf_counter() - began,
    )
    if store is not None:
        store.save(router)
    return router


def _fit(corpus: Corpus, encoder: Encoder) -> FittedRouter:
    texts = [clip(sample.text) for sample in corpus.samples]
    index = NgramIndex.of(texts)
    dense = np.stack([encoder.encode(text) for text in texts]).astype(np.float32)
    lexical = np.stack([index.similarity(text) for text in texts])
    gram = kernel(lexical, dense @ dense.T).astype(np.float64)

    labels = np.array([sample.intent for sample in corpus.samples])
    targets = np.zeros((len(labels), len(corpus.intents)))
    targets[np.arange(len(labels)), labels] = 1
    trust = np.array([_TRUST[sample.kind] for sample in corpus.samples])
    inverse = np.linalg.inv(gram + np.diag(_RIDGE / trust))
    weights = inverse @ targets

    asked = np.array([sample.kind in ("example", "topic") for sample in corpus.samples])
    left_out = LeftOut((targets - weights / np.diag(inverse)[:, None])[asked], labels[asked])
    return FittedRouter(
        corpus=corpus,
        encoder=encoder,
        index=index,
        dense=dense,
        weights=weights.astype(np.float32),
        calibration=calibrate(left_out, flow_starts(corpus.intents)),
    )


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
    if not count:
        return Calibration(temperature=temperature, foreign_below=0.0, foreign_spread=0.05)
    own = left_out.scores.max(1)
    # With few examples the quantile is a guess: shrink it towards "nothing is foreign".
    threshold = float(np.quantile(own, _FOREIGN_SHARE)) * count / (count + 10)
    return Calibration(temperature, threshold, max(float(own.std()) / 2, 0.02))
