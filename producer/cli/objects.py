"""Answers, records and routes as the JSON objects that ``--json`` prints; durations are milliseconds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from agentic_flywheel.broker.records import DeadLetter
from agentic_flywheel.doings import step_object
from agentic_flywheel.models import Answer, Record


def milliseconds(span: timedelta | None) -> float | None:
    """Return a duration in milliseconds, to a tenth."""
    return None if span is None else round(span.total_seconds() * 1000, 1)


def answer_object(answer: Answer) -> dict[str, Any]:
    """Return an answer, with ``elapsed_ms`` and ``first_token_ms``."""
    value = answer.model_dump(mode="json", exclude={"elapsed", "first_token", "steps"})
    value["steps"] = [step_object(step) for step in answer.steps]
    for told, part in zip(value["parts"], answer.parts, strict=True):
        told["steps"] = [step_object(step) for step in part.steps]
    return {**value, "elapsed_ms": milliseconds(answer.elapsed), "first_token_ms": milliseconds(answer.first_token)}


def record_object(record: Record) -> dict[str, Any]:
    """Return a record; of its query only what was given."""
    value = record.model_dump(mode="json", exclude={"answer", "query"})
    answer = answer_object(record.answer) if record.answer else None
    return {**value, "query": record.query.shown(), "answer": answer}


def dead_letter_object(letter: DeadLetter) -> dict[str, Any]:
    """Return a dead letter; of its query only what was given."""
    return {**letter.model_dump(mode="json", exclude={"query"}), "query": letter.query.shown()}
