"""Measure how long routing one question takes: ``python -m benchmarks.route_time [--texts FILE] [--shots 10]``.

Without a file: the bundled registry and the questions below. With a file of ``[text, label]`` pairs: a flow for each
label, with ``--shots`` of its texts as examples, and others of its texts as questions. Each question is read several
times; its time is the median, a row's figure the median over the questions, in microseconds. The ratio is to substring
keywords, the baseline of ``benchmarks.routing``, on the same questions in the same run.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.models import Query
from agentic_flywheel.registry import bundled_registry, load_catalog
from agentic_flywheel.routing import choose_route, fit_router
from benchmarks.lab.arguments import at_least
from benchmarks.routing import Pairs, keywords

TIMES = 7
MOST = 400
QUESTIONS = (
    "How do I connect PostgreSQL to Python?",
    "Write a poem about the sea",
    "Which index does this join need?",
    "What does the contract say about notice?",
    "Help me imagine a story for my daughter, in which a fox learns to read",
    "Why is the docker build slow, and how can I cache its layers?",
    "hello",
    "Summarise this PDF in three sentences and give me the page numbers",
    "What is the weather in Rome tomorrow?",
    "my tset fials after the upgrde of the databse",
)


def bundled() -> tuple[Catalog, Pairs, list[str]]:
    """Return the bundled catalog, its texts with their flows, and questions to it."""
    catalog = load_catalog(bundled_registry())
    pairs = [
        (text, flow.key) for flow in catalog.active.values() for text in (flow.title, *flow.examples, *flow.keywords)
    ]
    return catalog, pairs, list(QUESTIONS)


def of_file(file: Path, shots: int) -> tuple[Catalog, Pairs, list[str]]:
    """Return the same for a file of ``[text, label]`` pairs."""
    pairs: Pairs = [(str(text), str(label)) for text, label in json.loads(file.read_text(encoding="utf-8"))]
    random.Random(1).shuffle(pairs)
    by_label: dict[str, list[str]] = {}
    for text, label in pairs:
        by_label.setdefault(label, []).append(text)
    flows = {
        f"flow-{at}": Flow(
            key=f"flow-{at}", id=f"id-{at}", domain=f"domain-{at}", name=label, examples=tuple(texts[:shots])
        )
        for at, (label, texts) in enumerate(by_label.items())
    }
    chosen = [(text, label) for label, texts in by_label.items() for text in texts[:shots]]
    rest = [text for texts in by_label.values() for text in texts[shots:]]
    return Catalog(flows=flows), chosen, random.Random(2).sample(rest, min(MOST, len(rest)))


def microseconds(ask: Callable[[str], object], questions: Sequence[str]) -> float:
    """Return the median over the questions of each one's median time."""
    for question in questions:  # what is made on first use is made
        ask(question)
    medians = []
    for question in questions:
        times = []
        for _ in range(TIMES):
            begun = time.perf_counter()
            ask(question)
            times.append(time.perf_counter() - begun)
        medians.append(statistics.median(times))
    return 1e6 * statistics.median(medians)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, help="JSON list of [text, label]")
    parser.add_argument("--shots", type=at_least(1), default=10, help="examples of each label")
    options = parser.parse_args()
    catalog, pairs, questions = of_file(options.texts, options.shots) if options.texts else bundled()
    router = fit_router(catalog)
    queries = {question: Query(question=question) for question in questions}
    rows: list[tuple[str, Callable[[str], object]]] = [
        ("keywords", keywords(pairs, sorted({label for _, label in pairs}))),
        ("read", router.read),
        ("route", lambda question: choose_route(queries[question], router, catalog)),
    ]
    base = 0.0
    for name, ask in rows:
        taken = microseconds(ask, questions)
        base = base or taken
        print(f"{name:<10}{taken:>8.0f} µs{taken / base:>8.2f}")


if __name__ == "__main__":
    main()
