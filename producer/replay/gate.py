"""Conditions that a replay must meet, such as ``route_changes<=2%``: read from text, judged on a summary."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Literal

from agentic_flywheel.errors import InvalidGate
from agentic_flywheel.models import Model
from producer.replay import statistics, wording
from producer.replay.statistics import Estimate
from producer.replay.summary import ConditionOutcome, Quantiles, ScoreFigures, Spread, Summary

Kind = Literal["share", "number", "ratio", "duration"]
Operator = Literal["<=", ">=", "<", ">"]

_HOLDS: dict[Operator, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_CONDITION = re.compile(
    r"(?P<figure>[A-Za-z]\w*(?:\.[\w-]+)?)\s*(?P<operator><=|>=|<|>)\s*(?P<limit>-?\d+(?:\.\d+)?)\s*(?P<unit>%|ms|s)?"
)


class Figure(Model):
    """A figure that a condition may name."""

    kind: Kind
    meaning: str


#: What a gate may name; ``score.LABEL`` and ``score_change.LABEL`` for each evaluator besides.
FIGURES: dict[str, Figure] = {
    "route_changes": Figure(kind="share", meaning="questions that went to another flow"),
    "answer_changes": Figure(kind="share", meaning="answers that differ in more than case and spaces"),
    "tool_changes": Figure(kind="share", meaning="answers for which other tools were called"),
    "source_changes": Figure(kind="share", meaning="answers that cite other sources"),
    "stop_changes": Figure(kind="share", meaning="questions that stopped for a person before or now, not both"),
    "similarity": Figure(kind="number", meaning="mean likeness of the answers, 0 to 1"),
    "errors": Figure(kind="share", meaning="questions that got no answer"),
    "new_errors": Figure(kind="share", meaning="questions that got an answer before, and none now"),
    "as_expected": Figure(kind="share", meaning="questions whose expected flow or domain answered"),
    "missing": Figure(kind="share", meaning="questions of the other replay that this one does not have"),
    "cached": Figure(kind="share", meaning="answers from the cache"),
    "mean_ratio": Figure(kind="ratio", meaning="mean duration, now by before"),
    "p50_ratio": Figure(kind="ratio", meaning="median duration, now by before"),
    "p95_ratio": Figure(kind="ratio", meaning="95th percentile of the duration, now by before"),
    "first_token_ratio": Figure(kind="ratio", meaning="median time to the first token, now by before"),
    "token_ratio": Figure(kind="ratio", meaning="mean tokens, now by before"),
    "cost_ratio": Figure(kind="ratio", meaning="mean cost of an answer, now by before"),
    "p50": Figure(kind="duration", meaning="median duration"),
    "p95": Figure(kind="duration", meaning="95th percentile of the duration"),
    "p99": Figure(kind="duration", meaning="99th percentile of the duration"),
}
_SCORES = {
    "score": Figure(kind="number", meaning="mean score by this evaluator, 0 to 1"),
    "score_change": Figure(kind="number", meaning="mean change of the score by this evaluator"),
}


class Condition(Model):
    """One condition of a gate. ``limit``: a share as 0..1, a duration in milliseconds."""

    figure: str
    operator: Operator
    limit: float
    kind: Kind
    written: str


class Gate(Model):
    """All conditions; every one must hold."""

    conditions: tuple[Condition, ...]

    def judge(self, summary: Summary) -> tuple[ConditionOutcome, ...]:
        """Return how each condition fares. A figure that is not known fails: nothing shows that it holds."""
        return tuple(_judged(condition, summary) for condition in self.conditions)


def read_gate(text: str) -> Gate:
    """Return the gate that conditions, separated by commas, mean. Raises InvalidGate naming the faulty one."""
    conditions = tuple(_condition(each.strip()) for each in text.split(",") if each.strip())
    if not conditions:
        raise InvalidGate(text, "it holds no condition")
    return Gate(conditions=conditions)


def _condition(written: str) -> Condition:
    read = _CONDITION.fullmatch(written)
    if read is None:
        raise InvalidGate(written, "it is not FIGURE<=LIMIT, with <=, >=, < or >, and a limit such as 2%, 0.85, 900ms")
    name = read["figure"]
    family, dot, _ = name.partition(".")
    figure = _SCORES.get(family) if dot else FIGURES.get(name)
    if figure is None:
        known = ", ".join([*FIGURES, "score.LABEL", "score_change.LABEL"])
        raise InvalidGate(written, f"there is no figure {name!r}; known: {known}")
    limit = _limit(written, figure.kind, float(read["limit"]), read["unit"])
    symbol: Operator = read["operator"]  # type: ignore[assignment]
    return Condition(figure=name, operator=symbol, limit=limit, kind=figure.kind, written=written)


def _limit(written: str, kind: Kind, value: float, unit: str | None) -> float:
    if kind in ("ratio", "duration") and value < 0:
        raise InvalidGate(written, f"a {kind} is never below 0")
    if kind == "duration":
        if unit == "%" or unit is None:
            raise InvalidGate(written, "a duration needs its unit: 900ms or 1.5s")
        return value * 1000 if unit == "s" else value
    if unit in ("ms", "s"):
        raise InvalidGate(written, "this figure is no duration")
    found = value / 100 if unit == "%" else value
    if kind == "share" and not 0 <= found <= 1:
        raise InvalidGate(written, "a share is 0% to 100%, or 0 to 1")
    return found


def _judged(condition: Condition, summary: Summary) -> ConditionOutcome:
    found = _value(condition.figure, summary)
    if found is None:
        return ConditionOutcome(
            condition=condition.written,
            value=None,
            passed=False,
            certain=False,
            measured="there was nothing to measure it by",
            sentence=f"{condition.figure} is not known: there was nothing to measure it by",
        )
    holds, say = _HOLDS[condition.operator], _WORDING[condition.kind]
    estimate = found if isinstance(found, Estimate) else Estimate(value=found, low=found, high=found, n=0)
    passed = holds(estimate.value, condition.limit)
    certain = holds(estimate.low, condition.limit) == holds(estimate.high, condition.limit) == passed
    measured = say(estimate.value)
    if estimate.n:
        measured += f" (95 % interval {wording.between(estimate, say)}, {wording.count(estimate.n, 'case')})"
    return ConditionOutcome(
        condition=condition.written,
        value=estimate.value,
        low=estimate.low if estimate.n else None,
        high=estimate.high if estimate.n else None,
        passed=passed,
        certain=certain,
        measured=measured,
        sentence=f"{condition.figure} is {measured}: {'meets' if passed else 'misses'} "
        f"{condition.operator} {say(condition.limit)}{'' if certain else '; too few cases to be sure'}",
    )


_WORDING: dict[Kind, Callable[[float], str]] = {
    "share": wording.percent,
    "number": lambda value: f"{value:.3f}",
    "ratio": lambda value: f"{value:.3f}",
    "duration": wording.duration,
}


def _value(name: str, summary: Summary) -> Estimate | float | None:
    family, dot, label = name.partition(".")
    if dot:
        scores = next((each for each in summary.scores if each.label == label), ScoreFigures(label=label))
        return scores.score if family == "score" else scores.change
    match name:
        case "route_changes":
            return summary.routes.share
        case "answer_changes":
            return summary.answers.different_share
        case "tool_changes":
            return summary.tools.share
        case "source_changes":
            return summary.sources.share
        case "stop_changes":
            return summary.stops.share
        case "similarity":
            return summary.answers.similarity
        case "errors":
            return summary.errors.share
        case "new_errors":
            return statistics.share(summary.errors.gained, summary.errors.pairs)
        case "as_expected":
            return summary.routes.as_expected
        case "missing":
            return statistics.share(summary.missing, summary.missing + summary.compared)
        case "cached":
            return summary.cached.share
        case "first_token_ratio":
            return summary.first_token.p50_ratio
        case "token_ratio":
            return summary.tokens.mean_ratio
        case "cost_ratio":
            return summary.costs.spread.mean_ratio
        case "mean_ratio" | "p50_ratio" | "p95_ratio":
            ratio: Estimate | None = getattr(summary.speed, name)
            return ratio
        case _:
            return _duration(summary.speed, name)


def _duration(spread: Spread, name: str) -> float | None:
    after: Quantiles | None = spread.after
    return getattr(after, name) if after is not None else None
