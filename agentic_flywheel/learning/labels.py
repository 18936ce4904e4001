"""What is known of each question: the flow that it belongs to, and those that it does not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from agentic_flywheel.catalog import Catalog
from agentic_flywheel.learning.lessons import Lesson
from agentic_flywheel.models import Model
from agentic_flywheel.routing.signals import is_follow_up


class Label(Model):
    """One question and what people said about its route. Either ``right`` is known, or at least one ``wrong``."""

    question: str
    right: str | None = None
    wrong: frozenset[str] = frozenset()

    def agrees(self, flow: str) -> bool:
        """Return whether going to this flow would be right, as far as is known."""
        return flow == self.right if self.right is not None else flow not in self.wrong


@dataclass
class _Told:
    question: str
    right: str | None = None
    wrong: set[str] = field(default_factory=set)
    #: Somebody named the right flow; a rating does not overrule that.
    named: bool = False


def labels_of(lessons: Iterable[Lesson], catalog: Catalog) -> list[Label]:
    """Return one label for each question, the latest word counting; ``lessons`` are in the order of time.

    A question that leans on the conversation says nothing by itself, and an answer of several flows does not say which
    of them was good.
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
    """Return whether a question can be understood without the conversation that it was asked in."""
    return not (lesson.in_session and is_follow_up(lesson.question))


def same_question(question: str) -> str:
    """Return what two questions share that differ in case and spaces only."""
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
