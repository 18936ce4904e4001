"""The figures of a replay, as ``summary.json`` holds them. Gates and reports use them. Durations: milliseconds."""

from __future__ import annotations

from pydantic import AwareDatetime

from agentic_flywheel.models import Cost, Model
from producer.replay.comparing import Against
from producer.replay.sampling import Moment
from producer.replay.statistics import Estimate

#: Of a histogram of similarities.
SIMILARITY_BINS = 20


class Quantiles(Model):
    """A set of durations, or of token counts."""

    n: int
    mean: float
    p50: float
    p95: float
    p99: float


class Spread(Model):
    """Durations or token counts before and after. Ratios are of pairs: after divided by before."""

    pairs: int = 0
    before: Quantiles | None = None
    #: Of the pairs; where there are none, of all items.
    after: Quantiles | None = None
    mean_ratio: Estimate | None = None
    p50_ratio: Estimate | None = None
    p95_ratio: Estimate | None = None
    #: Sums over all items, where they mean something (tokens).
    total_before: int | None = None
    total: int | None = None


class Costs(Model):
    """What answers cost before and after, where flows were called both times: in billionths of the currency's unit."""

    currency: str = ""
    spread: Spread = Spread()
    #: Sums over all items whose cost is known.
    total_before: Cost | None = None
    total: Cost | None = None
    #: Of answers before, where it is another one in every pair: sums of two currencies are not compared.
    currency_before: str = ""
    #: Answers whose cost is not known.
    unknown_before: int = 0
    unknown: int = 0


class Share(Model):
    """How many items have a property, such as having failed. ``gained``: only after; ``lost``: only before."""

    n: int = 0
    count: int = 0
    share: Estimate | None = None
    pairs: int = 0
    count_before: int = 0
    gained: int = 0
    lost: int = 0
    change: Estimate | None = None
    #: The exact McNemar test: how likely so uneven a change is by chance.
    p: float | None = None


class RouteChange(Model):
    """How many questions went from one flow to another, or stayed (``before == after``)."""

    before: str
    after: str
    items: int
    #: The mean confidence of the new route.
    confidence: float | None = None


class Routes(Model):
    """Where questions went. ``changes`` holds the most frequent pairs, those that stayed among them."""

    compared: int = 0
    changed: int = 0
    share: Estimate | None = None
    changes: tuple[RouteChange, ...] = ()
    #: Items whose expected flow, or domain, answered.
    as_expected: Estimate | None = None


class Answers(Model):
    """How much answers changed. ``different``: not only in case, spaces or the last stop."""

    compared: int = 0
    exact: int = 0
    normalised: int = 0
    different: int = 0
    different_share: Estimate | None = None
    similarity: Estimate | None = None
    #: Twenty bins from 0 to 1, without the exactly equal ones.
    histogram: tuple[int, ...] = (0,) * SIMILARITY_BINS


class Doings(Model):
    """How often something that flows do changed: tools called, sources cited, or a stop for a person."""

    compared: int = 0
    changed: int = 0
    share: Estimate | None = None


class ErrorCount(Model):
    """How often an error ended an item."""

    error_type: str
    before: int
    after: int


class ScoreFigures(Model):
    """What one evaluator gave."""

    label: str
    score: Estimate | None = None
    before: float | None = None
    #: Of the items that were judged before and after.
    change: Estimate | None = None
    #: Answers that it could not judge.
    failures: int = 0


class Durations(Model):
    """How many durations fell into each bin of ``sampling``: a distribution to draw."""

    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()


class ConditionOutcome(Model):
    """A condition of a gate, and whether it holds."""

    condition: str
    value: float | None
    low: float | None = None
    high: float | None = None
    passed: bool
    #: Whether the whole interval is on the same side of the limit: if not, more items could say otherwise.
    certain: bool
    #: The value and its interval in words, and the whole in a sentence.
    measured: str
    sentence: str


class Headline(Model):
    """The verdict in a line, the reasons in a few more. ``tone``: good, mixed, bad, or unclear."""

    tone: str
    line: str
    facts: tuple[str, ...] = ()


class MovedFlow(Model):
    """One flow whose questions were asked of another, and what came of these alone."""

    before: str
    after: str
    items: int
    succeeded: int
    similarity: Estimate | None = None
    time_ratio: Estimate | None = None
    token_ratio: Estimate | None = None
    cost_ratio: Estimate | None = None
    headline: Headline


class Summary(Model):
    """All figures of a replay and of its comparison."""

    name: str
    against: Against
    #: What the results were compared with, in words.
    compared_with: str
    created: AwareDatetime
    items: int
    succeeded: int
    #: Items with something to compare with.
    compared: int
    #: Items of the other replay that this one does not have.
    missing: int = 0
    started: AwareDatetime | None = None
    ended: AwareDatetime | None = None
    routes: Routes = Routes()
    answers: Answers = Answers()
    tools: Doings = Doings()
    sources: Doings = Doings()
    stops: Doings = Doings()
    errors: Share = Share()
    error_types: tuple[ErrorCount, ...] = ()
    cached: Share = Share()
    #: From submission to the end, with the wait in the queues.
    latency: Spread = Spread()
    #: Of the flow alone, where it was called both times.
    flow_time: Spread = Spread()
    first_token: Spread = Spread()
    tokens: Spread = Spread()
    costs: Costs = Costs()
    scores: tuple[ScoreFigures, ...] = ()
    durations: Durations = Durations()
    #: Whether ``durations``, and ``speed``, are those of flows, or with the wait.
    durations_of_flows: bool = False
    timeline: tuple[Moment, ...] = ()
    gate: tuple[ConditionOutcome, ...] = ()
    headline: Headline | None = None
    #: Where other flows were asked than those that answered before.
    moves: tuple[MovedFlow, ...] = ()

    @property
    def gate_passed(self) -> bool:
        """Whether every condition holds; without a gate there is nothing to fail."""
        return all(each.passed for each in self.gate)

    @property
    def speed(self) -> Spread:
        """The fairer of the two durations: the flows' own where both sides have them."""
        return self.flow_time if self.durations_of_flows else self.latency
