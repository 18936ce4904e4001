"""Questions that no flow is for, but that are like each other: they may want a flow of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from agentic_flywheel.catalog import Catalog, Flow, revision_of
from agentic_flywheel.learning.judging import Effect, Judge
from agentic_flywheel.learning.labels import same_question, stands_alone
from agentic_flywheel.learning.lessons import Lesson
from agentic_flywheel.learning.proposals import is_example, is_keyword
from agentic_flywheel.models import Model
from agentic_flywheel.registry.derive import slug
from agentic_flywheel.routing.features import words

#: Questions at least this alike belong together, and so many of them make a flow worth thinking of.
_TOGETHER, _FEWEST = 0.34, 4
#: The latest so many unrouted questions are looked at.
_MOST = 500
_SHOWN = 12
#: A name may be made of commoner words than a keyword.
_COMMON = 2200


class NewFlow(Model):
    """A cluster of questions that wants a flow of its own. Only a person can make that in Flowise."""

    #: A name made of its most telling words.
    key: str
    questions: tuple[str, ...]
    size: int
    #: Of its questions, the share that would find the new flow by the others.
    found: float
    #: What the new flow would do to the questions that have a right flow already.
    effect: Effect


def unrouted_questions(lessons: Iterable[Lesson]) -> list[str]:
    """Return the questions that fitted nowhere, each once, but for those that somebody knew a flow for."""
    latest = [lesson for lesson in lessons if stands_alone(lesson)]
    placed = {same_question(each.question) for each in latest if each.right or each.good}
    found = {
        same_question(each.question): " ".join(each.question.split())
        for each in latest
        if each.kind == "unrouted" and is_example(each.question)
    }
    return [question for key, question in found.items() if key not in placed][-_MOST:]


def new_flows(unrouted: Sequence[str], judge: Judge) -> Iterator[NewFlow]:
    """Yield the clusters of questions that fit nowhere today either, the largest first."""
    decided = judge.today.decisions(unrouted)
    policy = judge.catalog.policy
    lost = [
        question
        for question, decision in zip(unrouted, decided, strict=True)
        if decision.novel or decision.confidence < policy.medium
    ]
    for questions in _clusters(lost, judge):
        key = _name(questions, judge.catalog)
        together = _with_flow(judge.catalog, key, questions)
        effect = judge.effect_of(together)
        own = [said == key for sample, said, _ in judge.trial(together).left_out if sample.text in questions]
        yield NewFlow(
            key=key,
            questions=tuple(questions[:_SHOWN]),
            size=len(questions),
            found=sum(own) / len(own),
            effect=effect,
        )


def _clusters(questions: Sequence[str], judge: Judge) -> list[list[str]]:
    """Return groups of questions around the one with most neighbours, again and again."""
    if len(questions) < _FEWEST:
        return []
    near = judge.likeness.between(questions, questions) >= _TOGETHER
    left = np.ones(len(questions), bool)
    found: list[list[str]] = []
    while True:
        counts = (near & left).sum(1) * left
        centre = int(counts.argmax())
        if counts[centre] < _FEWEST:
            return found
        members = near[centre] & left
        found.append([question for question, inside in zip(questions, members, strict=True) if inside])
        left &= ~members


def _name(questions: Sequence[str], catalog: Catalog) -> str:
    said = Counter(word for question in questions for word in words(question) if is_keyword(word, commonest=_COMMON))
    name = slug("-".join(word for word, _ in said.most_common(2))) or "new-flow"
    return name if name not in catalog.flows else f"{name}-2"


def _with_flow(catalog: Catalog, key: str, questions: Sequence[str]) -> Catalog:
    flow = Flow(key=key, id=key, name=questions[0], domain=key, examples=tuple(questions))
    flows = {**catalog.flows, key: flow}
    return Catalog(flows=flows, policy=catalog.policy, revision=revision_of(flows, catalog.policy))
