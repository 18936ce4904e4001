"""Cluster the questions that fit no flow: many similar ones may need a new flow."""

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
from agentic_flywheel.routing.words import words

#: Lowest likeness, 0..1, of two neighbours in a cluster; smallest number of questions in a cluster.
_TOGETHER, _FEWEST = 0.34, 4
#: Most unrouted questions that are clustered: the latest ones.
_MOST = 500
#: Most questions of a cluster that are shown.
_SHOWN = 12
#: Lowest frequency rank of a word in a cluster's name; lower than that of keywords, so commoner words are allowed.
_COMMON = 2200


class FlowSuggestion(Model):
    """A cluster of similar questions that fit no flow. Only a person can create the flow in Flowise."""

    #: A suggested key, made of the cluster's two most frequent words.
    key: str
    questions: tuple[str, ...]
    size: int
    #: Share of its questions, 0..1, that are routed to the new flow when each is left out of its examples.
    found: float
    #: Effect of the new flow on the labelled questions.
    effect: Effect


def unrouted_questions(lessons: Iterable[Lesson]) -> list[str]:
    """Return the questions that fitted no flow, each once, without those for which somebody named a flow."""
    latest = [lesson for lesson in lessons if stands_alone(lesson)]
    placed = {same_question(each.question) for each in latest if each.right or each.good}
    found = {
        same_question(each.question): " ".join(each.question.split())
        for each in latest
        if each.kind == "unrouted" and is_example(each.question)
    }
    return [question for key, question in found.items() if key not in placed][-_MOST:]


def new_flows(unrouted: Sequence[str], judge: Judge) -> Iterator[FlowSuggestion]:
    """Yield the clusters of the questions that still fit no flow in today's catalog, the largest first."""
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
        yield FlowSuggestion(
            key=key,
            questions=tuple(questions[:_SHOWN]),
            size=len(questions),
            found=sum(own) / len(own),
            effect=effect,
        )


def _clusters(questions: Sequence[str], judge: Judge) -> list[list[str]]:
    """Greedy clustering: take the question with most neighbours, remove its cluster, repeat."""
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
    revision = revision_of(flows, catalog.policy, catalog.servers)
    return Catalog(flows=flows, servers=catalog.servers, policy=catalog.policy, revision=revision)
