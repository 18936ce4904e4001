"""Every label beside what the catalog makes of its question today: what proposals are counted from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentic_flywheel.learning.changes import EXAMPLES
from agentic_flywheel.learning.labels import Label
from agentic_flywheel.routing.corpus import Sample
from agentic_flywheel.routing.trial import Decision, Trial

#: So many texts of a flow are what led a question there.
_LEADING = 2


@dataclass(frozen=True)
class Seen:
    """A label, where its question goes today, and what leads it there."""

    label: Label
    decision: Decision
    #: The probability of the right flow; of what is not known to be wrong, where the right one is unknown.
    chance: float
    #: The examples of the likeliest flow that speak most for it.
    leading: tuple[Sample, ...]

    @property
    def right(self) -> bool:
        """Whether it goes where it should, as far as is known."""
        return self.label.agrees(self.decision.flow)


def look(labels: Sequence[Label], trial: Trial) -> list[Seen]:
    """Return each label as the trial's catalog decides it."""
    decisions = trial.decisions([label.question for label in labels])
    return [_seen(label, decision, trial) for label, decision in zip(labels, decisions, strict=True)]


def _seen(label: Label, decision: Decision, trial: Trial) -> Seen:
    chances = dict(zip(trial.flows, decision.chances.tolist(), strict=True))
    chance = chances[label.right] if label.right is not None else 1 - sum(chances[flow] for flow in label.wrong)
    parts = trial.contributions(label.question, decision.likeliest)
    of_flow = [
        (part, number)
        for number, (sample, part) in enumerate(parts)
        if part > 0 and sample.asked and trial.flow_of(sample) == decision.likeliest
    ]
    leading = tuple(parts[number][0] for _, number in sorted(of_flow, reverse=True)[:_LEADING])
    return Seen(label, decision, chance, leading)


def place_of(sample: Sample, trial: Trial) -> tuple[str, str]:
    """Return the flow and the place in it that an example stands at."""
    intent = trial.corpus.intents[sample.intent]
    return intent.flow, intent.topic or EXAMPLES
