"""Views of traces: one whole trace, and the line for each trace that a search found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import AwareDatetime

from agentic_flywheel.broker.scores import Score
from agentic_flywheel.models import Model
from agentic_flywheel.tracing.observation import Observation, root_span_id, trace_id


@dataclass(frozen=True)
class TraceView:
    """One trace: its observations, its scores, and the archive from which they were read."""

    query_id: str
    observations: tuple[Observation, ...]
    scores: tuple[Score, ...] = ()
    source: str = ""
    #: Which archives could not be read.
    note: str = ""

    @property
    def root(self) -> Observation | None:
        """The root; None while the query is under way."""
        return next((seen for seen in self.observations if seen.is_root), None)

    def as_object(self) -> dict[str, Any]:
        """Return the view as JSON values. The steps are in the order of the tree."""
        return {
            "query_id": self.query_id,
            "trace_id": trace_id(self.query_id),
            "source": self.source,
            "note": self.note,
            "scores": [score.model_dump(mode="json", exclude={"query_id"}) for score in self.scores],
            "observations": [{**_object(step.seen), "depth": step.depth} for step in steps_of(self.observations)],
        }


def _object(seen: Observation) -> dict[str, Any]:
    fields = {name: value for name, value in seen._asdict().items() if value not in (None, (), False)}
    fields.pop("query_id")
    if seen.usage is not None:
        fields["usage"] = seen.usage.model_dump(mode="json", exclude_defaults=True)
    for name in ("start", "end", "first_token"):
        if name in fields:
            fields[name] = datetime.fromtimestamp(fields[name] / 1e9, UTC).isoformat()
    return fields


class FoundTrace(Model):
    """One trace that a search found."""

    query_id: str
    name: str
    at: AwareDatetime
    elapsed: timedelta
    question: str = ""
    answer: str = ""
    flow: str | None = None
    session_id: str | None = None
    user: str | None = None
    tags: tuple[str, ...] = ()
    #: The error of the query; empty where there was none.
    problem: str = ""
    rating: float | None = None

    @classmethod
    def of(cls, root: Observation, rating: float | None) -> FoundTrace:
        """Return the line for a trace with this root and rating."""
        flow = (root.metadata or {}).get("flow")
        return cls(
            query_id=root.query_id,
            name=root.name,
            at=datetime.fromtimestamp(root.start / 1e9, UTC),
            elapsed=timedelta(microseconds=(root.end - root.start) / 1000),
            question=str(root.input or ""),
            answer=str(root.output or ""),
            flow=None if flow is None else str(flow),
            session_id=root.session,
            user=root.user,
            tags=root.tags,
            problem=(root.message or root.level or "") if root.level else "",
            rating=rating,
        )


@dataclass(frozen=True, slots=True)
class TraceStep:
    """One observation with its place in the tree."""

    seen: Observation
    #: For each step from below the root down to this one: whether it is the last of its siblings.
    last: tuple[bool, ...]
    #: Begin and end within the whole trace, 0..1.
    begins: float
    ends: float

    @property
    def depth(self) -> int:
        return len(self.last)


def steps_of(observations: Sequence[Observation]) -> list[TraceStep]:
    """Return the observations in the order of the tree, siblings by their start.

    An observation whose parent is unknown is placed below the root, so that none is left out.
    """
    if not observations:
        return []
    root = next((seen for seen in observations if seen.is_root), None)
    top = root_span_id(observations[0].query_id) if root is None else root.span_id
    known = {seen.span_id for seen in observations if seen.span_id}
    below: dict[Any, list[Observation]] = {}
    for seen in sorted(observations, key=lambda each: (each.start, each.end)):
        if not seen.is_root:
            below.setdefault(seen.parent if seen.parent in known else top, []).append(seen)
    first = min(seen.start for seen in observations)
    whole = max(1, max(seen.end for seen in observations) - first)
    steps: list[TraceStep] = []

    def walk(seen: Observation, last: tuple[bool, ...]) -> None:
        begins, ends = (seen.start - first) / whole, (seen.end - first) / whole
        steps.append(TraceStep(seen=seen, last=last, begins=begins, ends=ends))
        descend(seen.span_id, last)

    def descend(span_id: str | None, last: tuple[bool, ...]) -> None:
        children = below.pop(span_id, [])
        for number, child in enumerate(children, 1):
            walk(child, (*last, number == len(children)))

    if root is not None:
        walk(root, ())
    # Also what is not connected to the root: all steps while there is no root, and steps that name each other.
    for span_id in (top, *list(below)):
        descend(span_id, ())
    return steps
