"""Route every labelled question with today's catalog, and note which examples led it there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentic_flywheel.learning.changes import EXAMPLES
from agentic_flywheel.learning.labels import Label
from agentic_flywheel.routing.corpus import Sample
from agentic_flywheel.routing.trial import Decision, Trial

#: Most examples that are noted as having led a question to a flow.
_LEADING = 2


@dataclass(frozen=True)
class RoutedLabel:
    """A labelled question with its route of today, and the examples that lead it there."""

    label: Label
    decision: Decision
    #: Probability of the right flow. Where that is unknown: of all flows that are not known to be wrong.
    chance: float
    #: The examples of the likeliest flow that contribute most to its probability.
    leading: tuple[Sample, ...]

    @property
    def right(self) -> bool:
        """Whether its route agrees with the label."""
        return self.label.agrees(self.decision.flow)


def look(labels: Sequence[Label], trial: Trial) -> list[RoutedLabel]:
    """Return each label with the route that the trial's catalog gives its question."""
    decisions = trial.decisions([label.question for label in labels])
    return [_seen(label, decision, trial) for label, decision in zip(labels, decisions, strict=True)]


def _seen(label: Label, decision: Decision, trial: Trial) -> RoutedLabel:
    chances = dict(zip(trial.flows, decision.chances.tolist(), strict=True))
    chance = chances[label.right] if label.right is not None else 1 - sum(chances[flow] for flow in label.wrong)
    parts = trial.contributions(label.question, decision.likeliest)
    of_flow = [
        (part, number)
        for number, (sample, part) in enumerate(parts)
        if part > 0 and sample.asked and trial.flow_of(sample) == decision.likeliest
    ]
    leading = tuple(parts[number][0] for _, number in sorted(of_flow, reverse=True)[:_LEADING])
    return RoutedLabel(label, decision, chance, leading)


def place_of(sample: Sample, trial: Trial) -> tuple[str, str]:
    """Return the flow of an example, and its place in that flow."""
    intent = trial.corpus.intents[sample.intent]
    return intent.flow, intent.topic or EXAMPLES
