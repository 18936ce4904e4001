"""Find pairs of flows that are often confused, by the catalog's own examples and by the labels.

Where examples are few, one that is left out and taken for another flow's shows only that no other is like it. It tells
of an overlap where it is much like one of the other flow, or where the texts of two flows go to each other far more
often than to any third, while those of other flows are told apart.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from math import comb

from agentic_flywheel.learning.evidence import RoutedLabel, place_of
from agentic_flywheel.models import Model
from agentic_flywheel.routing.trial import Trial

#: Fewest texts that are routed to the other flow of a pair, and their lowest share, 0..1, of the texts of both.
_CONFUSED, _SHARE = 3, 0.2
#: The highest probability that any pair of flows would be confused so often by chance.
_CHANCE = 0.001
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
    away: Counter[str] = Counter()
    telling: Counter[tuple[str, str]] = Counter()
    for sample, said, _ in trial.left_out:
        flow, place = place_of(sample, trial)
        had[flow] += 1
        if said != flow:
            away[flow] += 1
            telling[_pair(flow, said)] += trial.alike(sample, said)
            confused[_pair(flow, said)].append(sample.text)
            places[_pair(flow, said)][f"{flow}: {place}"] += 1
    for each in seen:
        right, said = each.label.right, each.decision.likeliest
        if right is not None:
            had[right] += 1
            if said != right:
                away[right] += 1
                telling[_pair(right, said)] += 1
                confused[_pair(right, said)].append(each.label.question)
    suspect = {
        pair
        for pair, texts in confused.items()
        if _beyond_chance(len(texts), away[pair[0]] + away[pair[1]], len(trial.flows))
    }
    others = had.keys() - {flow for pair in suspect for flow in pair}
    scarce = sum(away[flow] for flow in others) > _SHARE * sum(had[flow] for flow in others)
    for pair, texts in sorted(confused.items(), key=lambda item: -len(item[1])):
        total = had[pair[0]] + had[pair[1]]
        if len(texts) < _CONFUSED or len(texts) < _SHARE * total:
            continue
        if telling[pair] < _CONFUSED and (scarce or pair not in suspect):
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


def _beyond_chance(confused: int, away: int, flows: int) -> bool:
    """Return whether of the texts that went to another flow more went to the pair's other than chance explains."""
    ways: int = sum(comb(away, each) * (flows - 2) ** (away - each) for each in range(confused, away + 1))
    chance: float = ways / (flows - 1) ** away
    return comb(flows, 2) * chance <= _CHANCE


def _pair(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one < other else (other, one)
