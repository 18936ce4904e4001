"""The types of an evaluator: what it is called with and what it returns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pydantic import JsonValue

from agentic_flywheel.models import Model
from producer.replay.comparing import Verdict


class Case(Model):
    """One answer to judge."""

    question: str
    answer: str
    #: What the source expects; None where it says nothing.
    expected: str | None = None
    metadata: dict[str, JsonValue] = {}


#: Judges one answer. None: it has nothing to say of this one, for instance because nothing is expected.
Evaluator = Callable[[Case], Awaitable[Verdict | None]]
