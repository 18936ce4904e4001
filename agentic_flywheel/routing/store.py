"""Fits kept on disk, so that a process starts with a router at once: arrays and JSON in one npz file, never pickle."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from agentic_flywheel.routing.alignment import Alignment
from agentic_flywheel.routing.corpus import Corpus
from agentic_flywheel.routing.encoder import Encoder, StaticEncoder
from agentic_flywheel.routing.features import WordIndex, clip
from agentic_flywheel.routing.rarity import rarity_of
from agentic_flywheel.routing.router import Calibration, FittedRouter
from agentic_flywheel.routing.words import words

logger = logging.getLogger(__name__)

#: Part of every file's name: a change of the method makes older files unread.
_METHOD = 11
_KEPT = 8


class FitStore:
    """A folder of fits, each named by what it was made from."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, corpus: Corpus, table: StaticEncoder, encoder: Encoder | None) -> FittedRouter | None:
        """Return the stored fit of ``corpus``, or None where there is none that can be read."""
        path = self._path(corpus, table if encoder is None else encoder)
        try:
            with np.load(path, allow_pickle=False) as stored:
                told = json.loads(bytes(stored["told"]))
                index = WordIndex(
                    told["vocabulary"],
                    stored["idf"],
                    stored["starts"],
                    stored["texts"],
                    stored["postings"],
                    len(corpus.samples),
                    parts=not table.english,
                )
                tokens = [table.tokens(words(clip(each.text))) for each in corpus.samples]
                rarity = rarity_of(zip(tokens, (each.intent for each in corpus.samples), strict=True))
                router = FittedRouter(
                    corpus=corpus,
                    table=table.weighing(rarity),
                    encoder=encoder,
                    index=index,
                    alignment=Alignment(tokens, table.table, rarity),
                    dense=stored["dense"],
                    weights=stored["weights"],
                    calibration=_calibration(told["calibration"]),
                    shortcut=_three(told["shortcut"]),
                )
            _refuse_misfit(router)
            return router
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError, EOFError, zipfile.BadZipFile) as damaged:
            logger.warning("stored routing fit %s is unusable and is made anew: %s", path.name, damaged)
            return None

    def save(self, router: FittedRouter) -> None:
        """Store a fit whole or not at all. A folder that cannot be written costs a fit at each start, nothing else."""
        told: dict[str, Any] = {"vocabulary": list(router.index.vocabulary), "calibration": asdict(router.calibration)}
        told |= {"shortcut": list(router.shortcut)}
        path = self._path(router.corpus, router.encoder or router.table)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".part", delete=False) as out:
                np.savez(
                    out,
                    told=np.frombuffer(json.dumps(told).encode(), np.uint8),
                    idf=router.index.idf,
                    starts=router.index.starts,
                    texts=router.index.texts,
                    postings=router.index.weights,
                    dense=router.dense,
                    weights=router.weights,
                )
            os.replace(out.name, path)
            stale = sorted(self._folder.glob("routing-*.npz"), key=lambda each: each.stat().st_mtime)[:-_KEPT]
            for each in stale:
                each.unlink(missing_ok=True)
        except OSError as refused:
            logger.warning("the routing fit could not be stored in %s: %s", self._folder, refused)

    def _path(self, corpus: Corpus, encoder: Encoder | StaticEncoder) -> Path:
        return self._folder / f"routing-{_METHOD}-{encoder.name}-{corpus.digest}.npz"


def _three(told: list[Any]) -> tuple[float, float, float]:
    first, second, third = map(float, told)
    return first, second, third


def _calibration(told: dict[str, Any]) -> Calibration:
    score, nearest, belonging = (tuple(map(float, told[name])) for name in ("score", "nearest", "belonging"))
    return Calibration(
        float(told["temperature"]),
        (score[0], score[1]),
        (nearest[0], nearest[1]),
        float(told["foreign_below"]),
        (belonging[0], belonging[1]),
    )


def _refuse_misfit(router: FittedRouter) -> None:
    samples, intents = len(router.corpus.samples), len(router.corpus.intents)
    index = router.index
    fits = (
        router.weights.shape == (samples, intents)
        and router.dense.ndim == 2
        and len(router.dense) == samples
        and (router.encoder is not None or router.dense.shape[1] == router.table.width)
        and len(index.idf) == len(index.vocabulary) == len(index.starts) - 1
        and len(index.texts) == len(index.weights) == index.starts[-1]
    )
    if not fits:
        raise ValueError("its arrays do not fit the catalog")
