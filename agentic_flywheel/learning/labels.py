"""Labels: for each question, the flow that is right for it and the flows that are wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from agentic_flywheel.catalog import Catalog
from agentic_flywheel.learning.lessons import Lesson
from agentic_flywheel.models import Model
from agentic_flywheel.routing.signals import is_follow_up


class Label(Model):
    """One question and what people said about its route. ``right`` is known, or at least one flow is ``wrong``."""

    question: str
    right: str | None = None
    wrong: frozenset[str] = frozenset()

    def agrees(self, flow: str) -> bool:
        """Return whether a route to this flow agrees with the label."""
        return flow == self.right if self.right is not None else flow not in self.wrong


@dataclass
class _Told:
    question: str
    right: str | None = None
    wrong: set[str] = field(default_factory=set)
    #: Whether somebody named the right flow. A rating does not change that.
    named: bool = False


def labels_of(lessons: Iterable[Lesson], catalog: Catalog) -> list[Label]:
    """Return one label for each question. ``lessons`` are in the order of time; a later one overrules an earlier one.

    Two kinds of lessons are left out: a question that cannot be understood without its conversation, and a rating of an
    answer from several flows, because it does not say which flow was good.
    """
    told: dict[str, _Told] = {}
    for lesson in lessons:
        if lesson.kind != "unrouted" and stands_alone(lesson):
            _take(told.setdefault(same_question(lesson.question), _Told(lesson.question)), lesson)
    flows = set(catalog.routable)
    labels = []
    for each in told.values():
        wrong = each.wrong & flows
        right = each.right if each.right in flows else None
        if right is None and len(flows - wrong) == 1 and wrong:
            (right,) = flows - wrong
        if right is not None or wrong:
            labels.append(
                Label(question=" ".join(each.question.split()), right=right, wrong=frozenset(wrong - {right}))
            )
    return labels


def stands_alone(lesson: Lesson) -> bool:
    """Return whether a question can be understood without the conversation in which it was asked."""
    return not (lesson.in_session and is_follow_up(lesson.question))


def same_question(question: str) -> str:
    """Return a form of a question that is the same for questions which differ only in case and spaces."""
    return " ".join(question.casefold().split())


def _take(told: _Told, lesson: Lesson) -> None:
    if lesson.right is not None:
        told.right, told.named = lesson.right, True
        told.wrong.update(lesson.flows)
        told.wrong.discard(lesson.right)
    elif lesson.good is not None and len(lesson.flows) == 1:
        (flow,) = lesson.flows
        if lesson.good and not told.named:
            told.right = flow
            told.wrong.discard(flow)
        elif not lesson.good and not (told.named and told.right == flow):
            told.wrong.add(flow)
            told.right = None if told.right == flow else told.right
