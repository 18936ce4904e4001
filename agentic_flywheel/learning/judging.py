"""Measure the effect of proposals and choose those that help.

There are two measures. One is the labelled history, cut into folds: a fold's questions are routed without the changes
that only they propose, so that no question is judged by itself. The other leaves each example of the catalog out in
turn; only examples that are in the catalog both before and after the changes count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from functools import cached_property

from agentic_flywheel.catalog import Catalog
from agentic_flywheel.learning.changes import changed
from agentic_flywheel.learning.evidence import RoutedLabel, look
from agentic_flywheel.learning.labels import Label, same_question
from agentic_flywheel.learning.proposals import Draft, changes_of, propose
from agentic_flywheel.models import Model
from agentic_flywheel.routing.corpus import corpus_of
from agentic_flywheel.routing.trial import Likeness, Trial

FOLDS = 5
_MOST = 40


class Measure(Model):
    """Counts of correctly routed questions: ``labelled_right`` of ``labelled``, ``left_out_right`` of ``left_out``."""

    labelled: int = 0
    labelled_right: int = 0
    left_out: int = 0
    left_out_right: int = 0

    @property
    def on_labels(self) -> float:
        return self.labelled_right / self.labelled if self.labelled else 1.0

    @property
    def by_leaving_out(self) -> float:
        return self.left_out_right / self.left_out if self.left_out else 1.0


class Effect(Model):
    """Both measures before and after a set of changes."""

    before: Measure
    after: Measure

    @property
    def gain(self) -> tuple[float, float]:
        """Gain, -1..1, of the share on the labelled history and of the share by leaving one out."""
        return (
            self.after.on_labels - self.before.on_labels,
            self.after.by_leaving_out - self.before.by_leaving_out,
        )

    def helps(self, *, removing: bool) -> bool:
        """Whether one measure rises and none falls.

        A change that adds texts has to raise the measure on the labelled history. With ``removing``, a rise of either
        measure is enough.
        """
        judged, left_out = self.gain
        return min(judged, left_out) >= 0 and (judged > 0 or (removing and left_out > 0))

    def beyond(self, other: Effect) -> Effect:
        """Return the effect of going from the other's state to this one's."""
        return Effect(before=other.after, after=self.after)


class Judge:
    """Measures sets of drafts on one catalog and its labels."""

    def __init__(self, catalog: Catalog, labels: Sequence[Label], likeness: Likeness) -> None:
        """``likeness`` has to contain all texts of the catalog and the labels."""
        self.catalog = catalog
        self.labels = list(labels)
        self.likeness = likeness
        self._trials: dict[str, Trial] = {}
        self.today = self.trial(catalog)
        self.seen: list[RoutedLabel] = look(self.labels, self.today)

    def trial(self, catalog: Catalog) -> Trial:
        """Return a fitted trial of a catalog. Catalogs with the same texts share one."""
        digest = corpus_of(catalog).digest
        if digest not in self._trials:
            self._trials[digest] = Trial(catalog, self.likeness)
        return self._trials[digest]

    @cached_property
    def drafts(self) -> list[Draft]:
        """The drafts from all labels; at most ``_MOST``, those with most questions first, because each is measured."""
        every = propose(self.seen, self.today, self.likeness)
        return sorted(every, key=lambda draft: len(draft.questions), reverse=True)[:_MOST]

    @cached_property
    def _folds(self) -> list[tuple[list[RoutedLabel], dict[tuple[str, str, str], Draft]]]:
        """For each fold, its labels and the drafts from the labels of all other folds."""
        found = []
        for fold in range(FOLDS):
            inside = [each for each in self.seen if _fold(each.label.question) == fold]
            if inside:
                others = [each for each in self.seen if _fold(each.label.question) != fold]
                found.append((inside, {draft.key: draft for draft in propose(others, self.today, self.likeness)}))
        return found

    def effect(self, drafts: Collection[Draft]) -> Effect:
        """Return the effect of all these drafts together."""
        right = 0
        for inside, proposed in self._folds:
            changes = [
                change for draft in drafts if draft.key in proposed for change in proposed[draft.key].limited_to(draft)
            ]
            trial = self.trial(changed(self.catalog, changes))
            decisions = trial.decisions([each.label.question for each in inside])
            right += sum(each.label.agrees(said.flow) for each, said in zip(inside, decisions, strict=True))
        return self._compared(right, self.trial(changed(self.catalog, changes_of(drafts))))

    def effect_of(self, catalog: Catalog) -> Effect:
        """Return the effect of a catalog whose new texts are not labelled questions, so that no folds are needed."""
        trial = self.trial(catalog)
        decisions = trial.decisions([each.label.question for each in self.seen])
        right = sum(each.label.agrees(said.flow) for each, said in zip(self.seen, decisions, strict=True))
        return self._compared(right, trial)

    def _compared(self, right: int, trial: Trial) -> Effect:
        before, after = _left_out(self.today), _left_out(trial)
        both = before.keys() & after.keys()
        labelled = {"labelled": len(self.labels), "left_out": len(both)}
        return Effect(
            before=Measure(
                **labelled,
                labelled_right=sum(each.right for each in self.seen),
                left_out_right=sum(before[key] for key in both),
            ),
            after=Measure(**labelled, labelled_right=right, left_out_right=sum(after[key] for key in both)),
        )

    def choose(self, effects: Sequence[tuple[Draft, Effect]]) -> tuple[list[Draft], Effect]:
        """Return the drafts that help together, and their effect.

        First all drafts that help alone are measured together. Then each other draft that does no harm alone is
        measured with the chosen ones, the most useful first. This is done twice, since a draft may help only after
        another one was chosen.
        """
        harmless = [pair for pair in effects if pair[1].gain[0] >= 0]
        ranked = sorted(harmless, key=lambda pair: pair[1].gain, reverse=True)
        chosen = [draft for draft, effect in ranked if effect.helps(removing=draft.removes)]
        none = self.effect(())
        current = self.effect(chosen)
        if min(current.gain) < 0 or current.gain < max((effect.gain for _, effect in ranked), default=none.gain):
            chosen, current = [], none
        for draft, _ in 2 * ranked:
            if draft in chosen:
                continue
            tried = self.effect([*chosen, draft])
            if min(tried.gain) >= 0 and tried.beyond(current).helps(removing=draft.removes):
                chosen.append(draft)
                current = tried
        return chosen, current


def _left_out(trial: Trial) -> dict[tuple[str, str], bool]:
    """Return for each example whether the rest of the catalog routes it to its own flow."""
    return {(trial.flow_of(sample), sample.text): said == trial.flow_of(sample) for sample, said, _ in trial.left_out}


def _fold(question: str) -> int:
    """Return the number of a question's fold. It is the same in every process."""
    return hashlib.sha256(same_question(question).encode()).digest()[0] % FOLDS
