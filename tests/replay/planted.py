"""Results of replays with planted changes: what was planted is what a comparison must find."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from producer.replay.items import ReplayItem
from producer.replay.recorded import Recorded
from producer.replay.results import ItemResult

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
FLOWS = {"technical-analysis": "technical", "creative-orientation": "creative", "document-qa": "documents"}
_QUESTIONS = {
    "technical-analysis": ("How do I restart the worker after a broker outage?", "Why does the build fail on {}?"),
    "creative-orientation": ("What do I really want to create with {}?", "Help me name the vision behind {}."),
    "document-qa": ("Where in the handbook is the rule on {}?", "Summarise chapter {} of the contract."),
}
_ANSWERS = {
    "technical-analysis": "Stop the consumer before the pool, then start the worker again with flywheel up. The broker "
    "must be reachable; flywheel doctor says whether it is. If the port is taken, choose another one with --port.",
    "creative-orientation": "Begin with the end result: picture what you want to exist, in detail, as though it were "
    "there already. Then look honestly at where you are now. The tension between the two is what moves you.",
    "document-qa": "The handbook covers this in section 4.2: requests are made in writing, at least two weeks before, "
    "and are answered within five working days. Exceptions need the approval of the head of department.",
}
_THINGS = ("leases", "the garden", "Python 3.13", "holidays", "the river", "retries", "a new office", "travel costs")


def outcome(text: str = "Paris", flow: str = "document-qa", **more: Any) -> Recorded:
    """Return an outcome in which nothing is out of the ordinary but what is given."""
    fields: dict[str, Any] = {
        "text": text,
        "flow_keys": (flow,),
        "domains": (FLOWS.get(flow, "other"),),
        "confidence": 0.9,
        "latency_ms": 500.0,
        "flow_ms": 400.0,
        "at": START,
    }
    return Recorded(**{**fields, **more})


def failure(error_type: str = "FlowTimeout", flow: str = "document-qa") -> Recorded:
    """Return the outcome of a question that got no answer."""
    return outcome("", flow, state="failed", error_type=error_type, error=f"{flow} did not answer", flow_ms=None)


def result(number: int, after: Recorded, before: Recorded | None = None, **item: Any) -> ItemResult:
    """Return a line of results."""
    fields = {"number": number, "id": f"q{number}", "question": f"Question {number}?", "baseline": before, **item}
    moment = after.at or START
    return ItemResult(
        item=ReplayItem(**fields),
        query_id=f"{number:032x}",
        trace_id=f"{number:032x}",
        outcome=after,
        started=moment - timedelta(milliseconds=after.latency_ms or 0),
        ended=moment,
    )


def write(path: Path, results: Iterable[ItemResult]) -> Path:
    """Write a results.jsonl."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        file.writelines(each.written() + "\n" for each in results)
    return path


def realistic(
    count: int, *, seed: int = 1, rerouted: Sequence[int] = (), failing: Sequence[int] = ()
) -> list[ItemResult]:
    """Return results as a changed flow gives them: some routes, some words, a somewhat slower flow, some failures."""
    draw = random.Random(seed)
    found = []
    for number in range(1, count + 1):
        flow = draw.choices(list(FLOWS), [5, 3, 4])[0]
        question = draw.choice(_QUESTIONS[flow]).format(draw.choice(_THINGS))
        took = draw.lognormvariate(6.6, 0.5)
        before = outcome(_ANSWERS[flow], flow, flow_ms=took, latency_ms=took + 9, first_token_ms=took / 3, tokens=180)
        new_flow = draw.choice([each for each in FLOWS if each != flow]) if number in rerouted else flow
        slower = took * draw.lognormvariate(0.14, 0.12)
        after = outcome(
            _reworded(_ANSWERS[new_flow], draw),
            new_flow,
            flow_ms=slower,
            latency_ms=slower + draw.expovariate(1 / 40),
            first_token_ms=slower / 3,
            tokens=int(180 * draw.uniform(0.9, 1.3)),
            confidence=round(draw.uniform(0.45, 0.75) if number in rerouted else draw.uniform(0.7, 0.99), 3),
            at=START + timedelta(milliseconds=number * 110),
        )
        if number in failing:
            kind = draw.choice(["FlowTimeout", "FlowFailed", "ProviderUnavailable"])
            after = failure(kind, new_flow).model_copy(update={"at": after.at})
        found.append(result(number, after, before, question=question))
    return found


def _reworded(text: str, draw: random.Random) -> str:
    swaps = {
        "must be reachable": "has to be reachable",
        "start the worker again": "bring the worker back",
        "in detail": "vividly",
        "honestly": "plainly",
        "at least two weeks before": "no later than ten days ahead",
        "five working days": "a week",
        "what moves you": "the engine of it all",
    }
    for old, new in swaps.items():
        if draw.random() < 0.35:
            text = text.replace(old, new)
    return text + (" Ask me if anything is unclear." if draw.random() < 0.15 else "")
