"""Two flows that are taken for each other: by the catalog's own examples, and by what people said."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from agentic_flywheel.learning.evidence import Seen, place_of
from agentic_flywheel.models import Model
from agentic_flywheel.routing.trial import Trial

#: So many texts have to be taken for the other flow's, and this share of all that the two have.
_CONFUSED, _SHARE = 3, 0.2
_SHOWN = 5


class Overlap(Model):
    """Two flows that questions cannot tell apart."""

    flows: tuple[str, str]
    #: Examples and labelled questions of the two, how many of them are taken for the other's, and the places where.
    of: int
    confused: int
    places: tuple[str, ...]
    questions: tuple[str, ...]
    #: Share of the labelled questions that go right, and that would if the two were one flow.
    before: float
    after: float


def overlaps(trial: Trial, seen: Sequence[Seen]) -> Iterator[Overlap]:
    """Yield the pairs of flows that overlap, the most confused first."""
    confused: dict[tuple[str, str], list[str]] = defaultdict(list)
    places: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    had: Counter[str] = Counter()
    for sample, said, _ in trial.left_out:
        flow, place = place_of(sample, trial)
        had[flow] += 1
        if said != flow:
            confused[_pair(flow, said)].append(sample.text)
            places[_pair(flow, said)][f"{flow}: {place}"] += 1
    for each in seen:
        right, said = each.label.right, each.decision.likeliest
        if right is not None:
            had[right] += 1
            if said != right:
                confused[_pair(right, said)].append(each.label.question)
    for pair, texts in sorted(confused.items(), key=lambda item: -len(item[1])):
        total = had[pair[0]] + had[pair[1]]
        if len(texts) < _CONFUSED or len(texts) < _SHARE * total:
            continue
        right_now = sum(each.right for each in seen)
        as_one = sum(each.right or {each.label.right, each.decision.flow} == set(pair) for each in seen)
        yield Overlap(
            flows=pair,
            of=total,
            confused=len(texts),
            places=tuple(place for place, _ in places[pair].most_common(_SHOWN)),
            questions=tuple(texts[:_SHOWN]),
            before=right_now / len(seen) if seen else 1.0,
            after=as_one / len(seen) if seen else 1.0,
        )


def _pair(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one < other else (other, one)
