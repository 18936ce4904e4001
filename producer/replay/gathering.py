"""Turn a stream of changes into a summary and the most changed items, in memory that does not grow with the stream."""

from __future__ import annotations

import heapq
from collections import Counter
from datetime import UTC, datetime

import numpy as np

from agentic_flywheel.models import State
from producer.replay import statistics
from producer.replay.comparing import Against, Change, answered, route_of
from producer.replay.costing import CostGathering
from producer.replay.recorded import Recorded
from producer.replay.sampling import BINS, PairSample, Timeline, bin_of
from producer.replay.spreading import spread_of
from producer.replay.summary import (
    SIMILARITY_BINS,
    Answers,
    Doings,
    Durations,
    ErrorCount,
    RouteChange,
    Routes,
    ScoreFigures,
    Share,
    Summary,
)

#: Items that a report shows, and the characters of each of their texts.
SHOWN = 500
_CHARACTERS = 12_000
#: Number of different routes, and of error types, that are counted by name. All others are counted together.
_MOST_KINDS = 1_000
_ROUTES_TOLD = 200
_OTHER = "(other)"


class Property:
    """Counts who has a property before and after."""

    def __init__(self) -> None:
        self.n = self.count = self.pairs = self.count_before = self.gained = self.lost = 0

    def add(self, before: bool | None, after: bool) -> None:
        self.n += 1
        self.count += after
        if before is None:
            return
        self.pairs += 1
        self.count_before += before
        self.gained += after and not before
        self.lost += before and not after

    def share(self) -> Share:
        return Share(
            n=self.n,
            count=self.count,
            share=statistics.share(self.count, self.n),
            pairs=self.pairs,
            count_before=self.count_before,
            gained=self.gained,
            lost=self.lost,
            change=statistics.share_change(self.gained, self.lost, self.pairs),
            p=statistics.mcnemar(self.gained, self.lost) if self.pairs else None,
        )


class Counted:
    """Counts how many of those that are known changed."""

    def __init__(self) -> None:
        self.compared = self.changed = 0

    def add(self, changed: bool | None) -> None:
        if changed is not None:
            self.compared += 1
            self.changed += changed

    def doings(self) -> Doings:
        return Doings(compared=self.compared, changed=self.changed, share=statistics.share(self.changed, self.compared))


class Gathering:
    """Takes changes one by one; ``summary`` and ``most_changed`` say what they come to."""

    def __init__(self, shown: int = SHOWN) -> None:
        """``shown``: how many of the most changed items are kept."""
        self._shown = shown
        self._items = self._succeeded = self._compared = 0
        self._against: Counter[Against] = Counter()
        self._span: tuple[datetime, datetime] | None = None
        self._routes: Counter[tuple[str, str]] = Counter()
        self._confidence: Counter[tuple[str, str]] = Counter()
        self._confident: Counter[tuple[str, str]] = Counter()
        self._rerouted = self._routes_known = 0
        self._expected = self._as_expected = 0
        self._sameness: Counter[str] = Counter()
        self._similar = np.zeros(SIMILARITY_BINS, np.int64)
        self._similarity = PairSample()
        self._tools, self._sources, self._stops = Counted(), Counted(), Counted()
        self._errors, self._cached = Property(), Property()
        self._error_types: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        self._latency, self._flow_time, self._first_token, self._tokens = (PairSample() for _ in range(4))
        self._token_sums: list[int | None] = [None, None]
        self._costs = CostGathering()
        self._bins = np.zeros((2, 2, BINS), np.int64)
        self._scores: dict[str, PairSample] = {}
        self._timeline = Timeline()
        self._top: list[tuple[float, int, Change]] = []

    def add(self, change: Change) -> None:
        """Count one item."""
        self._items += 1
        self._succeeded += change.after.state in (State.SUCCEEDED, "classified")
        self._compared += change.before is not None
        self._against[change.against] += 1
        self._add_route(change)
        self._add_answer(change)
        self._tools.add(change.tools_changed)
        self._sources.add(change.sources_changed)
        self._stops.add(change.stop_changed)
        self._add_times(change)
        self._costs.add(change)
        for label, verdict in change.scores.items():
            old = change.scores_before.get(label)
            self._scores.setdefault(label, PairSample()).add(old.score if old else None, verdict.score)
        self._keep(change)

    def _add_route(self, change: Change) -> None:
        if change.as_expected is not None:
            self._expected += 1
            self._as_expected += change.as_expected
        if change.rerouted is None or change.before is None:
            return
        self._routes_known += 1
        self._rerouted += change.rerouted
        pair = (_named(change.before), _named(change.after))
        if pair not in self._routes and len(self._routes) >= _MOST_KINDS:
            pair = (_OTHER, _OTHER)
        self._routes[pair] += 1
        if change.after.confidence is not None:
            # In millionths: a Counter counts whole numbers.
            self._confidence[pair] += round(change.after.confidence * 1e6)
            self._confident[pair] += 1

    def _add_answer(self, change: Change) -> None:
        known_before = change.before is not None and change.against != "expected"
        self._errors.add(change.failed_before if known_before else None, change.failed)
        for counted, outcome in zip(self._error_types, (change.before, change.after), strict=True):
            if outcome is not None and outcome.error_type:
                known = outcome.error_type in counted or len(counted) < _MOST_KINDS
                counted[outcome.error_type if known else _OTHER] += 1
        if change.sameness is not None:
            self._sameness[change.sameness] += 1
        if change.similarity is not None:
            self._similarity.add(None, change.similarity)
            if change.sameness != "exact":
                self._similar[min(SIMILARITY_BINS - 1, int(change.similarity * SIMILARITY_BINS))] += 1

    def _add_times(self, change: Change) -> None:
        before, after = change.before, change.after
        if answered(after):
            told = before is not None and answered(before) and change.against != "expected"
            self._cached.add(before.cached if before and told else None, after.cached)
        old = before if before is not None and before.state == State.SUCCEEDED else None
        if after.state == State.SUCCEEDED:
            self._latency.add(old.latency_ms if old else None, after.latency_ms)
            self._flow_time.add(old.flow_ms if old else None, after.flow_ms)
            self._first_token.add(old.first_token_ms if old else None, after.first_token_ms)
            self._tokens.add(old.tokens if old else None, after.tokens)
            for kind, values in enumerate(("latency_ms", "flow_ms")):
                for when, outcome in enumerate((old, after)):
                    value = getattr(outcome, values) if outcome else None
                    if value is not None:
                        self._bins[kind, when, bin_of(value)] += 1
        for when, outcome in enumerate((before, after)):
            if outcome is not None and outcome.tokens is not None:
                self._token_sums[when] = (self._token_sums[when] or 0) + outcome.tokens
        if after.at is not None:
            first, last = self._span or (after.at, after.at)
            self._span = min(first, after.at), max(last, after.at)
            self._timeline.add(
                after.at, failed=change.failed, rerouted=bool(change.rerouted), latency_ms=after.latency_ms
            )

    def _keep(self, change: Change) -> None:
        # The earlier of two that changed as much is kept; the heap's least is the first to go.
        entry = (change.magnitude, -self._items)
        if len(self._top) < self._shown:
            heapq.heappush(self._top, (*entry, change.cut(_CHARACTERS)))
        elif self._top and entry > self._top[0][:2]:
            heapq.heapreplace(self._top, (*entry, change.cut(_CHARACTERS)))

    def most_changed(self) -> list[Change]:
        """Return the most changed items, the most changed first, with their texts cut."""
        return [change for _, _, change in sorted(self._top, key=lambda entry: entry[:2], reverse=True)]

    def summary(self, *, name: str, compared_with: str, missing: int = 0, failures: dict[str, int]) -> Summary:
        """Return the figures. ``failures``: by evaluator, how many answers it could not judge."""
        flow_time = spread_of(self._flow_time)
        of_flows = bool(flow_time.pairs or (not self._compared and flow_time.after))
        bins = self._bins[int(of_flows)]
        return Summary(
            name=name,
            against=self._against.most_common(1)[0][0] if self._against else "nothing",
            compared_with=compared_with,
            created=datetime.now(UTC),
            items=self._items,
            succeeded=self._succeeded,
            compared=self._compared,
            missing=missing,
            started=self._span[0] if self._span else None,
            ended=self._span[1] if self._span else None,
            routes=self._routes_summary(),
            answers=self._answers_summary(),
            tools=self._tools.doings(),
            sources=self._sources.doings(),
            stops=self._stops.doings(),
            errors=self._errors.share(),
            error_types=self._errors_summary(),
            cached=self._cached.share(),
            latency=spread_of(self._latency),
            flow_time=flow_time,
            first_token=spread_of(self._first_token),
            tokens=spread_of(self._tokens).model_copy(
                update={"total_before": self._token_sums[0], "total": self._token_sums[1]}
            ),
            costs=self._costs.costs(),
            scores=tuple(
                _score(label, self._scores.get(label), failures.get(label, 0))
                for label in dict.fromkeys([*failures, *self._scores])
            ),
            durations=Durations(before=tuple(map(int, bins[0])), after=tuple(map(int, bins[1]))),
            durations_of_flows=of_flows,
            timeline=self._timeline.moments(),
        )

    def _routes_summary(self) -> Routes:
        changes = tuple(
            RouteChange(
                before=pair[0],
                after=pair[1],
                items=items,
                confidence=round(self._confidence[pair] / self._confident[pair] / 1e6, 4)
                if self._confident[pair]
                else None,
            )
            for pair, items in self._routes.most_common(_ROUTES_TOLD)
        )
        return Routes(
            compared=self._routes_known,
            changed=self._rerouted,
            share=statistics.share(self._rerouted, self._routes_known),
            changes=changes,
            as_expected=statistics.share(self._as_expected, self._expected),
        )

    def _answers_summary(self) -> Answers:
        compared = sum(self._sameness.values())
        return Answers(
            compared=compared,
            exact=self._sameness["exact"],
            normalised=self._sameness["normalised"],
            different=self._sameness["different"],
            different_share=statistics.share(self._sameness["different"], compared),
            similarity=statistics.mean(self._similarity.after()),
            histogram=tuple(map(int, self._similar)),
        )

    def _errors_summary(self) -> tuple[ErrorCount, ...]:
        before, after = self._error_types
        total = before + after
        return tuple(
            ErrorCount(error_type=kind, before=before[kind], after=after[kind]) for kind, _ in total.most_common(20)
        )


def _named(outcome: Recorded) -> str:
    return route_of(outcome) or " + ".join(sorted(outcome.domains))


def _score(label: str, sample: PairSample | None, failures: int) -> ScoreFigures:
    if sample is None:
        return ScoreFigures(label=label, failures=failures)
    before, after = sample.pairs()
    return ScoreFigures(
        label=label,
        score=statistics.mean(sample.after()),
        before=round(float(before.mean()), 4) if len(before) else None,
        change=statistics.mean(after - before),
        failures=failures,
    )
