"""Measure the classifier beside three baselines, on files of ``[text, label]`` pairs.

    python -m benchmarks.routing --train train.json --test test.json --oos oos.json --shots 10 --seeds 3 --json

Each label of the train file becomes a flow with its texts as examples, fitted by the product's own ``fit_router``. The
figures are means over the seeds. Each row runs in a process of its own, so that its memory is its own.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import random
import resource
import string
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.routing import fit_router, strong_encoder
from agentic_flywheel.routing.corpus import plain
from agentic_flywheel.routing.words import words
from benchmarks.lab.arguments import at_least

ROWS = ("keywords", "tfidf-lr", "nearest", "flywheel", "flywheel-extra")
Pairs = list[tuple[str, str]]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Guess:
    """What a classifier says of one text."""

    label: str
    confidence: float
    #: The higher, the more familiar; what out-of-scope questions are recognised by.
    familiarity: float


Classifier = Callable[[str], Guess]


def keywords(train: Pairs, labels: Sequence[str]) -> Classifier:
    """Substring keywords as such systems have them: the words of each label's name, and its most telling words."""
    by_label: dict[str, Counter[str]] = {label: Counter() for label in labels}
    for text, label in train:
        by_label[label].update(set(words(text)))
    spread = Counter(word for counts in by_label.values() for word in counts)
    told = {
        label: {
            *words(plain(label)),
            *sorted(filter(_telling, counts), key=lambda word: (-(counts[word] ** 2) / spread[word], word))[:8],
        }
        for label, counts in by_label.items()
    }

    def classify(text: str) -> Guess:
        said = text.lower()
        hits = {label: sum(word in said for word in own) for label, own in told.items()}
        best = max(labels, key=lambda label: hits[label])
        total = sum(hits.values())
        return Guess(best, hits[best] / total if total else 0.0, float(hits[best]))

    return classify


def _telling(word: str) -> bool:
    return len(word) > 3


def _tfidf(train: Pairs) -> Callable[[str], dict[int, float]]:
    grams = [_word_grams(text) for text, _ in train]
    counts = Counter(gram for each in grams for gram in set(each))
    number = {gram: at for at, gram in enumerate(counts)}
    idf = {gram: math.log((1 + len(train)) / (1 + count)) + 1 for gram, count in counts.items()}

    def vector(text: str) -> dict[int, float]:
        found = {
            number[gram]: times * idf[gram] for gram, times in Counter(_word_grams(text)).items() if gram in number
        }
        length = math.sqrt(sum(value * value for value in found.values())) or 1.0
        return {at: value / length for at, value in found.items()}

    return vector


def _word_grams(text: str) -> list[str]:
    said = words(text)
    return said + [" ".join(pair) for pair in pairwise(said)]


def _dense(rows: Sequence[dict[int, float]]) -> Floats:
    width = 1 + max((at for row in rows for at in row), default=0)
    matrix = np.zeros((len(rows), width))
    for line, row in enumerate(rows):
        matrix[line, list(row)] = list(row.values())
    return matrix


def tfidf_lr(train: Pairs, labels: Sequence[str]) -> Classifier:
    """Multinomial logistic regression with an L2 penalty (C = 10) on tf-idf of words and pairs."""
    vector = _tfidf(train)
    features = _dense([vector(text) for text, _ in train])
    number = {label: at for at, label in enumerate(labels)}
    targets = np.eye(len(labels))[[number[label] for _, label in train]]
    weights = _logistic_regression(features, targets, penalty=1 / 10)

    def classify(text: str) -> Guess:
        given = {at: value for at, value in vector(text).items() if at < len(weights)}
        scores = np.array(list(given.values())) @ weights[list(given)] if given else np.zeros(len(labels))
        chances = np.exp(scores - scores.max())
        chances /= chances.sum()
        best = int(chances.argmax())
        return Guess(labels[best], float(chances[best]), float(chances[best]))

    return classify


def _logistic_regression(features: Floats, targets: Floats, *, penalty: float) -> Floats:
    """Accelerated Newton steps with Böhning's bound on the curvature, in the dual: fewer texts than words."""
    gram = features @ features.T
    inverse = np.linalg.inv(gram + 2 * penalty * np.eye(len(gram)))
    dual = ahead = np.zeros_like(targets)
    pace = 1.0
    for _ in range(50):
        scores = gram @ ahead
        chances = np.exp(scores - scores.max(1, keepdims=True))
        chances /= chances.sum(1, keepdims=True)
        following = ahead - 2 * inverse @ (chances - targets + penalty * ahead)
        next_pace = (1 + math.sqrt(1 + 4 * pace * pace)) / 2
        ahead = following + (pace - 1) / next_pace * (following - dual)
        dual, pace = following, next_pace
    return features.T @ dual


def nearest(train: Pairs, labels: Sequence[str]) -> Classifier:
    """The label of the nearest example by cosine of word tf-idf."""
    vector = _tfidf(train)
    postings: dict[int, list[tuple[int, float]]] = {}
    for line, (text, _) in enumerate(train):
        for at, value in vector(text).items():
            postings.setdefault(at, []).append((line, value))

    def classify(text: str) -> Guess:
        likeness = np.zeros(len(train))
        for at, value in vector(text).items():
            for line, own in postings.get(at, ()):
                likeness[line] += value * own
        best = int(likeness.argmax())
        return Guess(train[best][1], float(likeness[best]), float(likeness[best]))

    return classify


def flywheel(train: Pairs, labels: Sequence[str], *, extra: bool = False) -> Classifier:
    """The product: a catalog with one flow for each label, its texts as examples."""
    texts: dict[str, list[str]] = {label: [] for label in labels}
    for text, label in train:
        texts[label].append(text)
    flows = {
        f"flow-{at}": Flow(
            key=f"flow-{at}", id=f"id-{at}", domain=f"domain-{at}", name=plain(label), examples=tuple(texts[label])
        )
        for at, label in enumerate(labels)
    }
    catalog = Catalog(flows=flows)
    router = fit_router(catalog, stronger=strong_encoder(catalog) if extra else None)

    def classify(text: str) -> Guess:
        reading = router.read(text)
        best = reading.best
        return Guess(labels[best], min(1.0, reading.chances[best]), -reading.novelty)

    return classify


def extra(train: Pairs, labels: Sequence[str]) -> Classifier:
    return flywheel(train, labels, extra=True)


MAKERS: dict[str, Callable[[Pairs, Sequence[str]], Classifier]] = {
    "keywords": keywords,
    "tfidf-lr": tfidf_lr,
    "nearest": nearest,
    "flywheel": flywheel,
    "flywheel-extra": extra,
}


def measure(name: str, chosen: Pairs, test: Pairs, oos: Sequence[str], *, seed: int, typos: bool) -> dict[str, float]:
    """Fit one classifier to the chosen texts and return its figures."""
    labels = sorted({label for _, label in chosen})
    began = time.perf_counter()
    classify = MAKERS[name](chosen, labels)
    fitted = time.perf_counter() - began
    for text, _ in chosen[:200]:
        classify(text)
    verdicts, times = [], []
    for text, _ in test:
        asked = time.perf_counter_ns()
        verdicts.append(classify(text))
        times.append((time.perf_counter_ns() - asked) / 1000)
    truth = [label for _, label in test]
    right = np.array([verdict.label == label for verdict, label in zip(verdicts, truth, strict=True)])
    confidence = np.array([verdict.confidence for verdict in verdicts])
    surest = np.argsort(-confidence, kind="stable")[: math.ceil(len(right) * 0.9)]
    figures = {
        "accuracy": float(right.mean()),
        "macro_f1": macro_f1([verdict.label for verdict in verdicts], truth),
        "accuracy_at_90": float(right[surest].mean()),
        "ece": expected_calibration_error(confidence, right),
    }
    if oos:
        inside = np.array([verdict.familiarity for verdict in verdicts])
        outside = np.array([classify(text).familiarity for text in oos])
        figures["oos_auroc"] = auroc(inside, outside)
        figures["oos_recall_at_5fpr"] = float((outside < np.quantile(inside, 0.05)).mean())
    if typos:
        chance = random.Random(seed)
        wrong = [classify(mistyped(text, chance)).label for text, _ in test]
        damaged = np.mean([said == label for said, label in zip(wrong, truth, strict=True)])
        figures["typos_lost_points"] = float(100 * (right.mean() - damaged))
    return figures | {
        "p50_us": float(np.percentile(times, 50)),
        "p99_us": float(np.percentile(times, 99)),
        "fit_s": fitted,
        "rss_mb": _resident(),
    }


def _resident() -> float:
    """Memory of this process now, in MB; its peak where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return pages * resource.getpagesize() / 2**20


def _few(pairs: Pairs, shots: int, seed: int) -> Pairs:
    by_label: dict[str, list[str]] = {}
    for text, label in pairs:
        by_label.setdefault(label, []).append(text)
    chance = random.Random(seed)
    chosen = []
    for label in sorted(by_label):
        texts = by_label[label]
        few = chance.sample(texts, min(shots, len(texts))) if shots else texts
        chosen += [(text, label) for text in few]
    return chosen


def mistyped(text: str, chance: random.Random) -> str:
    """Return ``text`` with one random edit (omit, insert, exchange, swap) in each word of four letters or more."""
    return " ".join(_edit(word, chance) if len(word) >= 4 else word for word in text.split())


def _edit(word: str, chance: random.Random) -> str:
    at = chance.randrange(len(word) - 1)
    letter = chance.choice(string.ascii_lowercase)
    return chance.choice(
        (
            word[:at] + word[at + 1 :],
            word[:at] + letter + word[at:],
            word[:at] + letter + word[at + 1 :],
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        )
    )


def macro_f1(said: Sequence[str], truth: Sequence[str]) -> float:
    """The mean over the labels of the harmonic mean of precision and recall."""
    both = Counter(own for own, other in zip(said, truth, strict=True) if own == other)
    first, second = Counter(said), Counter(truth)
    return float(np.mean([2 * both[label] / (first[label] + second[label]) for label in second]))


def expected_calibration_error(confidence: Floats, right: npt.NDArray[np.bool_], bins: int = 15) -> float:
    """The mean gap between confidence and accuracy over equal-width bins (Guo et al. 2017)."""
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = (
        abs(float(confidence[place == at].mean()) - float(right[place == at].mean())) * float((place == at).mean())
        for at in set(place.tolist())
    )
    return float(sum(gaps))


def auroc(inside: Floats, outside: Floats) -> float:
    """The chance that a known question looks more familiar than a foreign one; ties count half."""
    ordered = np.sort(outside)
    below = np.searchsorted(ordered, inside, side="left")
    upto = np.searchsorted(ordered, inside, side="right")
    return float((below + upto).sum() / (2 * len(inside) * len(outside)))


def _read(path: Path) -> Pairs:
    return [(str(text), str(label)) for text, label in json.loads(path.read_text(encoding="utf-8"))]


def _rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    train, test = _read(options.train), _read(options.test)
    oos = [text for text, _ in _read(options.oos)] if options.oos else []
    for name in ROWS:
        if name == "flywheel-extra" and strong_encoder(Catalog(flows={})) is None:
            print("flywheel-extra is left out: the extra `encoder` is not installed", file=sys.stderr)
            continue
        runs = []
        for seed in range(options.seeds):
            # A fresh process for each fit: memory and caches of one run do not flatter the next.
            with multiprocessing.get_context("spawn").Pool(1) as process:
                # Drawn here: the texts that are not chosen are no part of a classifier's memory.
                chosen = _few(train, options.shots, seed)
                runs.append(process.apply(measure, (name, chosen, test, oos), {"seed": seed, "typos": options.typos}))
        yield {"name": name} | {figure: round(float(np.mean([run[figure] for run in runs])), 4) for figure in runs[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True, help="JSON list of [text, label]")
    parser.add_argument("--test", type=Path, required=True, help="JSON list of [text, label]")
    parser.add_argument("--oos", type=Path, help="JSON list of [text, label]; the labels are not read")
    parser.add_argument("--shots", type=at_least(0), default=10, help="examples of each label; 0: all")
    parser.add_argument("--seeds", type=at_least(1), default=3, help="figures are means over so many draws of examples")
    parser.add_argument("--typos", action="store_true", help="also: accuracy lost with one edit in each longer word")
    parser.add_argument("--json", action="store_true", help="one JSON object for each row")
    options = parser.parse_args()
    for at, row in enumerate(_rows(options)):
        if options.json:
            print(json.dumps(row), flush=True)
            continue
        if not at:
            print(" ".join(f"{name:>14}" for name in row))
        print(" ".join(f"{value:>14}" for value in row.values()), flush=True)


if __name__ == "__main__":
    main()
