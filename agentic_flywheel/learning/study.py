"""The whole of learning: which changes of the catalog help, and what a person has to decide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentic_flywheel.catalog import Catalog
from agentic_flywheel.learning.changes import registry_fields
from agentic_flywheel.learning.clusters import FlowSuggestion, new_flows, unrouted_questions
from agentic_flywheel.learning.judging import Effect, Judge
from agentic_flywheel.learning.labels import labels_of
from agentic_flywheel.learning.lessons import Lesson
from agentic_flywheel.learning.overlaps import Overlap, overlaps
from agentic_flywheel.learning.proposals import Draft, changes_of, possible_keywords
from agentic_flywheel.models import Model
from agentic_flywheel.routing.corpus import corpus_of, plain
from agentic_flywheel.routing.trial import Likeness


class Proposal(Draft):
    """A draft, its effect alone, and whether it was chosen together with others."""

    effect: Effect
    chosen: bool


class Study(Model):
    """The result of learning from all lessons."""

    labelled: int
    unrouted: int
    catalog_revision: str
    proposals: tuple[Proposal, ...] = ()
    #: Effect of the chosen proposals together.
    effect: Effect
    overlaps: tuple[Overlap, ...] = ()
    new_flows: tuple[FlowSuggestion, ...] = ()

    @property
    def chosen(self) -> tuple[Proposal, ...]:
        return tuple(each for each in self.proposals if each.chosen)


def study(catalog: Catalog, lessons: Sequence[Lesson]) -> Study:
    """Return what the lessons, in the order of time, suggest for the catalog. Takes seconds; no I/O."""
    labels = labels_of(lessons, catalog)
    unrouted = unrouted_questions(lessons)
    questions = [label.question for label in labels]
    texts = [sample.text for sample in corpus_of(catalog).samples]
    # Keywords, and questions that serve as names of new flows, are compared in their plain form.
    read_plainly = map(plain, [*possible_keywords(questions), *unrouted])
    likeness = Likeness([*texts, *questions, *unrouted, *read_plainly], catalog)
    judge = Judge(catalog, labels, likeness)
    effects = [(draft, judge.effect([draft])) for draft in judge.drafts]
    chosen, together = judge.choose(effects)
    keys = {draft.key for draft in chosen}
    return Study(
        labelled=len(labels),
        unrouted=len(unrouted),
        catalog_revision=catalog.revision,
        proposals=tuple(Proposal(**dict(draft), effect=effect, chosen=draft.key in keys) for draft, effect in effects),
        effect=together,
        overlaps=tuple(overlaps(judge.today, judge.seen)),
        new_flows=tuple(new_flows(unrouted, judge)),
    )


def registry_changes(found: Study, catalog: Catalog) -> dict[str, dict[str, Any]]:
    """Return the chosen proposals in the form of ``update_flows``."""
    return registry_fields(catalog, changes_of(found.chosen))
