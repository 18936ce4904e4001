"""Count the calls that reached each flow and each question, so that a test can say how many were one too many."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from typing import Any

MAX_QUESTIONS = 250_000
MAX_RECENT = 1_000


class Counts:
    """The calls since the last reset."""

    def __init__(self) -> None:
        self.total = 0
        self.flows: Counter[str] = Counter()
        #: By question; the least recently asked is dropped first.
        self.questions: OrderedDict[str, int] = OrderedDict()
        self.recent: deque[dict[str, Any]] = deque(maxlen=MAX_RECENT)

    def add(self, flow: str, body: dict[str, Any]) -> None:
        self.total += 1
        self.flows[flow] += 1
        question = str(body.get("question", ""))
        self.questions[question] = self.questions.pop(question, 0) + 1
        if len(self.questions) > MAX_QUESTIONS:
            self.questions.popitem(last=False)
        self.recent.append({"flow": flow, **body})

    @property
    def repeated(self) -> int:
        """The calls beyond the first of each question."""
        return sum(count - 1 for count in self.questions.values())

    def describe(self, question: str | None = None) -> dict[str, Any]:
        found = {"total": self.total, "flows": dict(self.flows), "repeated": self.repeated}
        if question is not None:
            return {**found, "question": self.questions.get(question, 0)}
        return {**found, "questions": dict(self.questions), "recent": list(self.recent)}
