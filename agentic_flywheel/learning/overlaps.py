"""Find pairs of flows that are often confused, by the catalog's own examples and by the labels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from agentic_flywheel.learning.evidence import RoutedLabel, place_of
from agentic_flywheel.models import Model
from agentic_flywheel.routing.trial import Trial

#: Fewest texts that are routed to the other flow of a pair, and their lowest share, 0..1, of the texts of both.
_CONFUSED, _SHARE = 3, 0.2
_SHOWN = 5


class Overlap(Model):
    """Two flows between which the router cannot decide well."""

    flows: tuple[str, str]
    #: Number of examples and labelled questions of both; how many of them are routed to the other flow; their places.
    of: int
    confused: int
    places: tuple[str, ...]
    questions: tuple[str, ...]
    #: Share of the labelled questions, 0..1, that are routed correctly now, and that would be if the two were one flow.
    before: float
    after: float


def overlaps(trial: Trial, seen: Sequence[RoutedLabel]) -> Iterator[Overlap]:
    """Yield the pairs of flows that overlap, the most confused pair first."""
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
