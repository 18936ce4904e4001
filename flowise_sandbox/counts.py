"""Count the calls of each flow and each question, so that a test can find repeated ones."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter, OrderedDict, deque
from typing import Any

MAX_QUESTIONS = 250_000
MAX_RECENT = 1_000


def without_bytes(body: dict[str, Any]) -> dict[str, Any]:
    """Return a request without what is in its files: their size and SHA-256 stand in its place."""
    uploads = body.get("uploads")
    if not isinstance(uploads, list):
        return body
    return {**body, "uploads": [_summary(each) for each in uploads if isinstance(each, dict)]}


def _summary(upload: dict[str, Any]) -> dict[str, Any]:
    data = str(upload.get("data", ""))
    if not data.startswith("data:"):
        return upload
    return {**upload, "data": digest_of(data.partition(",")[2])}


def digest_of(data: str) -> dict[str, Any]:
    """Return the size and the SHA-256 of what is in a text of base64."""
    content = base64.b64decode(data)
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


class Counts:
    """The calls since the last reset."""

    def __init__(self) -> None:
        self.total = 0
        self.flows: Counter[str] = Counter()
        #: Number of calls by question. Where there are too many, the one asked longest ago is dropped.
        self.questions: OrderedDict[str, int] = OrderedDict()
        self.recent: deque[dict[str, Any]] = deque(maxlen=MAX_RECENT)
        #: The chats whose runs were to be aborted, and the questions of completions whose clients left their stream.
        self.aborted: deque[str] = deque(maxlen=MAX_RECENT)
        #: Who people said that they are, the latest last.
        self.leads: deque[dict[str, Any]] = deque(maxlen=MAX_RECENT)

    def add(self, flow: str, body: dict[str, Any]) -> None:
        self.total += 1
        self.flows[flow] += 1
        question = str(body.get("question", ""))
        self.questions[question] = self.questions.pop(question, 0) + 1
        if len(self.questions) > MAX_QUESTIONS:
            self.questions.popitem(last=False)
        self.recent.append({"flow": flow, **without_bytes(body)})

    @property
    def repeated(self) -> int:
        """Number of calls beyond the first for each question."""
        return sum(count - 1 for count in self.questions.values())

    def describe(self, question: str | None = None) -> dict[str, Any]:
        found = {"total": self.total, "flows": dict(self.flows), "repeated": self.repeated}
        if question is not None:
            return {**found, "question": self.questions.get(question, 0)}
        latest = {"recent": list(self.recent), "aborted": list(self.aborted), "leads": list(self.leads)}
        return {**found, "questions": dict(self.questions), **latest}
