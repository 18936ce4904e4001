"""Measure what proposals would do, and choose those that help: by the labelled history, and by leaving one out.

No question is judged by itself: the history is cut into folds, and what a fold's own questions propose is not made
before they are asked. The left-out examples are those that the catalog has both before and after.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from functools import cached_property

from agentic_flywheel.catalog import Catalog
from agentic_flywheel.learning.changes import changed
from agentic_flywheel.learning.evidence import Seen, look
from agentic_flywheel.learning.labels import Label, same_question
from agentic_flywheel.learning.proposals import Draft, changes_of, propose
from agentic_flywheel.models import Model
from agentic_flywheel.routing.corpus import corpus_of
from agentic_flywheel.routing.trial import Likeness, Trial

FOLDS = 5
_MOST = 40


class Measure(Model):
    """Shares of questions that go where they should; ``labelled_right`` of ``labelled`` and so on, as counts."""

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
    """What a set of changes does to both measures."""

    before: Measure
    after: Measure

    @property
    def gain(self) -> tuple[float, float]:
        """Points gained on the labelled history and by leaving one out."""
        return (
            self.after.on_labels - self.before.on_labels,
            self.after.by_leaving_out - self.before.by_leaving_out,
        )

    def helps(self, *, removing: bool) -> bool:
        """Whether one measure rises and none falls; what adds something has to help the judged questions.

        What is only in the way may also go where the registry's own examples alone show that it is.
        """
        judged, left_out = self.gain
        return min(judged, left_out) >= 0 and (judged > 0 or (removing and left_out > 0))

    def beyond(self, other: Effect) -> Effect:
        """Return what this does more than the other."""
        return Effect(before=other.after, after=self.after)


class Judge:
    """Knows the catalog and the labels, and tries sets of drafts."""

    def __init__(self, catalog: Catalog, labels: Sequence[Label], likeness: Likeness) -> None:
        """``likeness`` has measured all texts of both."""
        self.catalog = catalog
        self.labels = list(labels)
        self.likeness = likeness
        self._trials: dict[str, Trial] = {}
        self.today = self.trial(catalog)
        self.seen: list[Seen] = look(self.labels, self.today)

    def trial(self, catalog: Catalog) -> Trial:
        """Return the catalog as it decides; one that says the same is learned once."""
        digest = corpus_of(catalog).digest
        if digest not in self._trials:
            self._trials[digest] = Trial(catalog, self.likeness)
        return self._trials[digest]

    @cached_property
    def drafts(self) -> list[Draft]:
        """What all labels propose; of very many the ones that rest on most questions, since each is tried."""
        every = propose(self.seen, self.today, self.likeness)
        return sorted(every, key=lambda draft: len(draft.questions), reverse=True)[:_MOST]

    @cached_property
    def _folds(self) -> list[tuple[list[Seen], dict[tuple[str, str, str], Draft]]]:
        """Each fold's labels, and what the labels of all others propose."""
        found = []
        for fold in range(FOLDS):
            inside = [each for each in self.seen if _fold(each.label.question) == fold]
            if inside:
                others = [each for each in self.seen if _fold(each.label.question) != fold]
                found.append((inside, {draft.key: draft for draft in propose(others, self.today, self.likeness)}))
        return found

    def effect(self, drafts: Collection[Draft]) -> Effect:
        """Return what the drafts do together."""
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
        """Return what a catalog does whose new texts are not among the labelled questions."""
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
        """Return the drafts that help together, and what they do.

        Those that help alone are tried at once. Then each that is left, and does no harm alone, is tried beside the
        chosen ones, the most useful first and twice: one may only help after another.
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
    """Return for each example whether the rest of the catalog puts it where it stands."""
    return {(trial.flow_of(sample), sample.text): said == trial.flow_of(sample) for sample, said, _ in trial.left_out}


def _fold(question: str) -> int:
    """Return the fold of a question: the same wherever and whenever it is computed."""
    return hashlib.sha256(same_question(question).encode()).digest()[0] % FOLDS
