"""Compare one question's outcomes: route, answer, times. Pure: reads and writes nothing."""

from __future__ import annotations

import math
from typing import Any, Literal

from agentic_flywheel.models import Model, State
from producer.replay.doings import compare_doings
from producer.replay.recorded import Recorded
from producer.replay.results import ItemResult
from producer.replay.similarity import normalised, similarity

#: What an outcome is compared with: the source's recorded answer, its expected answer, or another replay.
Against = Literal["recorded", "expected", "replay", "nothing"]
#: Whether two answers are equal, equal but for case and spaces, or different.
Sameness = Literal["exact", "normalised", "different"]

#: The route of an answer that asked which flow the question is for.
CLARIFY = "(asked back)"


_TEXTS: dict[str, Any] = {"question": True, "expected": True, "before": {"text"}, "after": {"text"}}


class Verdict(Model):
    """What an evaluator says of an answer: 0 (bad) to 1 (good)."""

    score: float
    comment: str = ""


class Change(Model):
    """One question with its outcome before and its outcome now."""

    number: int
    id: str
    question: str
    #: The flow that answered before, and the one that was asked in its place.
    moved: tuple[str, str] | None = None
    expected: str | None = None
    #: Of the query that asked the question again.
    query_id: str = ""
    trace_id: str = ""
    against: Against
    before: Recorded | None = None
    after: Recorded
    #: Of the whole answers: what a report shows is cut.
    characters_before: int = 0
    characters: int = 0
    #: None: one of the two routes is not known.
    rerouted: bool | None = None
    #: None: there are no two answers.
    sameness: Sameness | None = None
    similarity: float | None = None
    #: Whether other tools were called, other sources cited, and whether only one of the two stopped for a person. None:
    #: one of the two does not tell.
    tools_changed: bool | None = None
    sources_changed: bool | None = None
    stop_changed: bool | None = None
    #: Whether the expected flow, or domain, answered; None: none is expected.
    as_expected: bool | None = None
    #: By evaluator.
    scores: dict[str, Verdict] = {}
    scores_before: dict[str, Verdict] = {}

    @property
    def failed(self) -> bool:
        return failed(self.after)

    @property
    def failed_before(self) -> bool:
        return self.before is not None and failed(self.before)

    def cut(self, limit: int) -> Change:
        """Return the change with no text longer than ``limit`` characters: some answers have megabytes."""
        return self.model_copy(
            update={
                "question": self.question[:limit],
                "expected": self.expected[:limit] if self.expected is not None else None,
                "before": _cut(self.before, limit) if self.before is not None else None,
                "after": _cut(self.after, limit),
            }
        )

    def written(self) -> str:
        """Return the line of ``changes.jsonl``: all but the texts, which are in ``results.jsonl``."""
        return self.model_dump_json(exclude_defaults=True, exclude=_TEXTS)

    @property
    def magnitude(self) -> float:
        """Sort key of changes, the largest first: a new failure, then a new route, then different words."""
        found = 4.0 * (self.failed and not self.failed_before) + 2.0 * (self.failed_before and not self.failed)
        found += 0.5 * (self.failed and self.failed_before)
        found += 2.0 * bool(self.stop_changed) + 1.0 * bool(self.tools_changed) + 0.5 * bool(self.sources_changed)
        found += 1.5 * bool(self.rerouted) + 1.0 * (self.as_expected is False)
        found += 1.0 - self.similarity if self.similarity is not None else 0.0
        found += 0.01 * (self.sameness == "different")
        for name, verdict in self.scores.items():
            old = self.scores_before.get(name)
            found += max(0.0, old.score - verdict.score) if old else 0.5 * (1.0 - verdict.score)
        if self.before is not None and self.before.latency_ms and self.after.latency_ms:
            found += 0.1 * min(3.0, abs(math.log2(self.after.latency_ms / self.before.latency_ms)))
        return found


def _cut(outcome: Recorded, limit: int) -> Recorded:
    return outcome.model_copy(update={"text": outcome.text[:limit], "error": outcome.error[:limit]})


def failed(outcome: Recorded) -> bool:
    """Return whether a question got no answer."""
    return outcome.state in (State.FAILED, State.CANCELLED, State.EXPIRED)


def answered(outcome: Recorded) -> bool:
    """Return whether there is a text to compare."""
    return outcome.state == State.SUCCEEDED and bool(outcome.text)


def route_of(outcome: Recorded) -> str:
    """Return the flows that answered, or would have, as one name; empty: not known."""
    if outcome.kind == "clarify":
        return CLARIFY
    return " + ".join(sorted(outcome.flow_keys))


def reference(result: ItemResult) -> tuple[Against, Recorded | None]:
    """Return what an outcome is compared with where no other replay is: what was recorded, else what is expected."""
    item = result.item
    if item.baseline is not None:
        return "recorded", item.baseline
    if item.expected is None and item.expected_flow is None and item.expected_domain is None:
        return "nothing", None
    return "expected", Recorded(
        state=State.SUCCEEDED if item.expected is not None else "classified",
        text=item.expected or "",
        flow_keys=(item.expected_flow,) if item.expected_flow else (),
        domains=(item.expected_domain,) if item.expected_domain else (),
    )


def compare(result: ItemResult, against: Against, before: Recorded | None) -> Change:
    """Return what changed for one item."""
    item, after = result.item, _sound(result.outcome)
    before = _sound(before) if before is not None else None
    change = Change(
        number=item.number,
        id=item.id,
        question=item.question,
        expected=item.expected,
        query_id=result.query_id,
        trace_id=result.trace_id,
        against=against,
        before=before,
        after=after,
        characters_before=len(before.text) if before else 0,
        characters=len(after.text),
        as_expected=_as_expected(result),
    )
    if item.moved_from is not None and item.flow is not None and against == "recorded":
        change = change.model_copy(update={"moved": (item.moved_from, item.flow)})
    if before is None:
        return change
    found: dict[str, object] = {"rerouted": _rerouted(before, after, change.moved)}
    if answered(before) and answered(after):
        found["sameness"] = _sameness(before.text, after.text)
        found["similarity"] = round(similarity(before.text, after.text), 4)
    doings = compare_doings(before, after)
    found |= {"tools_changed": doings.tools, "sources_changed": doings.sources, "stop_changed": doings.stop}
    return change.model_copy(update=found)


def _sound(outcome: Recorded) -> Recorded:
    """Leave out impossible figures: the file may have been written by another program."""
    impossible = {
        name: None
        for name in ("latency_ms", "flow_ms", "first_token_ms", "confidence", "tokens")
        if (value := getattr(outcome, name)) is not None and not 0 <= value < math.inf
    }
    if outcome.score is not None and not math.isfinite(outcome.score):
        impossible["score"] = None
    return outcome.model_copy(update=impossible) if impossible else outcome


def _rerouted(before: Recorded, after: Recorded, moved: tuple[str, str] | None) -> bool | None:
    old, new = moved[1] if moved else route_of(before), route_of(after)
    if old and new:
        return old != new
    if before.domains and after.domains:
        return set(before.domains) != set(after.domains)
    return None


def _as_expected(result: ItemResult) -> bool | None:
    item, after = result.item, result.outcome
    if item.expected_flow is not None:
        return item.expected_flow in after.flow_keys
    if item.expected_domain is not None:
        return item.expected_domain in after.domains
    return None


def _sameness(before: str, after: str) -> Sameness:
    if before == after:
        return "exact"
    return "normalised" if normalised(before) == normalised(after) else "different"
