"""Answers, records and routes as the JSON objects that ``--json`` prints; durations are milliseconds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from agentic_flywheel.models import Answer, Record


def milliseconds(span: timedelta | None) -> float | None:
    """Return a duration in milliseconds, to a tenth."""
    return None if span is None else round(span.total_seconds() * 1000, 1)


def answer_object(answer: Answer) -> dict[str, Any]:
    """Return an answer, with ``elapsed_ms`` and ``first_token_ms``."""
    value = answer.model_dump(mode="json", exclude={"elapsed", "first_token"})
    return {**value, "elapsed_ms": milliseconds(answer.elapsed), "first_token_ms": milliseconds(answer.first_token)}


def record_object(record: Record) -> dict[str, Any]:
    """Return a record; of its query only what was given."""
    value = record.model_dump(mode="json", exclude={"answer", "query"})
    answer = answer_object(record.answer) if record.answer else None
    return {**value, "query": record.query.model_dump(mode="json", exclude_defaults=True), "answer": answer}
