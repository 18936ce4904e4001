"""Evaluators that compare an answer with a text: the same, contained, matching a pattern, alike in meaning."""

from __future__ import annotations

import regex  # type: ignore[import-untyped]

from agentic_flywheel.errors import InvalidEvaluator
from producer.replay.comparing import Verdict
from producer.replay.evaluators.case import Case, Evaluator
from producer.replay.similarity import normalised, similarity

#: Longest search for one pattern in one answer, in seconds: some patterns would take for ever.
PATTERN_TIME = 0.25
#: Characters of an answer that a pattern sees.
PATTERN_READ = 200_000


def exact(argument: str) -> Evaluator:
    """1 where the answer is ``argument``, else the expected text, but for case, spaces and the last stop."""

    async def evaluate(case: Case) -> Verdict | None:
        wanted = argument or case.expected
        if wanted is None:
            return None
        return Verdict(score=float(normalised(case.answer) == normalised(wanted)))

    return evaluate


def contains(argument: str) -> Evaluator:
    """1 where the answer contains ``argument``, else the expected text, but for case and spaces."""

    async def evaluate(case: Case) -> Verdict | None:
        wanted = argument or case.expected
        if wanted is None:
            return None
        return Verdict(score=float(normalised(wanted) in normalised(case.answer)))

    return evaluate


def alike(argument: str) -> Evaluator:
    """Return how alike the answer is in meaning to ``argument``, else to the expected text."""

    async def evaluate(case: Case) -> Verdict | None:
        wanted = argument or case.expected
        return None if wanted is None else Verdict(score=round(similarity(wanted, case.answer), 4))

    return evaluate


def matches(argument: str) -> Evaluator:
    """1 where the pattern is found in the answer. Raises InvalidEvaluator for a pattern that is none."""
    if not argument:
        raise InvalidEvaluator("regex", "it needs a pattern: regex:PATTERN")
    try:
        pattern = regex.compile(argument)
    except regex.error as refused:
        raise InvalidEvaluator("regex", f"the pattern cannot be read: {refused}") from None

    async def evaluate(case: Case) -> Verdict | None:
        return found(pattern, case.answer)

    return evaluate


def found(pattern: regex.Pattern, text: str) -> Verdict:
    """Search the text for the pattern, for a bounded time; one that takes longer was not found."""
    try:
        return Verdict(score=float(pattern.search(text[:PATTERN_READ], timeout=PATTERN_TIME) is not None))
    except TimeoutError:
        return Verdict(score=0.0, comment=f"the pattern took more than {PATTERN_TIME:g} s")
