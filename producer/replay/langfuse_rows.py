"""A trace, an observation or a dataset's item of Langfuse, from its API or its exports, as the fields of an item."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from producer.replay.json_values import parse
from producer.replay.reads import Note
from producer.replay.said import Said, said_of, text_of_content

#: Under which names an input or an output may hold its text.
QUESTION = ("question", "input", "query", "prompt", "text", "content")
ANSWER = ("answer", "expected", "output", "response", "text", "content")
#: What is said of an export once.
LANGFUSE = "is read as an export of Langfuse: `input` is the question, and `output` the answer of before"
#: Fields that an input may give beside its question.
_ASIDE = ("session_id", "flow", "domain", "profile")
_CALL = {"args", "kwargs"}
#: Keys that Langfuse's rows have and a person's do not.
_KEYS = frozenset(
    {"bookmarked", "traceId", "trace_id", "parentObservationId", "datasetId", "dataset_id", "expectedOutput"}
    | {"sourceTraceId", "observationCount", "projectId", "project_id", "expected_output", "traceName"}
)
#: Of these, the keys of a dataset's item, which has an id.
_EXPECTED = {"expectedOutput", "expected_output"}
#: Keys of a trace of which other columns were taken away.
_TRACE = {"timestamp", "output", "sessionId"}


def is_langfuse_row(value: dict[str, Any]) -> bool:
    """Whether an object is a row of Langfuse's."""
    if "id" not in value and not _EXPECTED.isdisjoint(value):
        return False  # a case of DeepEval's
    return "input" in value and (not _KEYS.isdisjoint(value) or value.keys() >= _TRACE)


class Order:
    """Looks whether the rows of an export go from new to old, as Langfuse lists them."""

    def __init__(self) -> None:
        self._last = ""
        self._told = False

    def note(self, row: Mapping[str, Any]) -> Note | None:
        """Return what is worth a word, once: turns of a conversation are asked in the order of the rows."""
        time = str(row.get("timestamp") or row.get("startTime") or row.get("start_time") or "")
        backwards = bool(time) and time < self._last and bool(row.get("sessionId") or row.get("session_id"))
        self._last = time
        if self._told or not backwards:
            return None
        self._told = True
        return Note(text="goes from new to old, so conversations are asked backwards: export it sorted by time")


def of_langfuse(given: Mapping[str, Any]) -> dict[str, Any] | str:
    """Return the fields of a row, or why it cannot be asked. Exports write texts and objects as JSON within texts."""
    row = {name: _within(value) for name, value in given.items()}
    if str(row.get("status", "")).upper() == "ARCHIVED":
        return "it is archived in Langfuse"
    asked = of_input(row.get("input"))
    if isinstance(asked, str):
        return asked
    metadata = row.get("metadata") if isinstance(row.get("metadata"), dict) else {}
    assert isinstance(metadata, dict)
    if "expectedOutput" in row or "expected_output" in row:
        name = row.get("datasetName") or row.get("dataset_name")
        expected = answer_of(row.get("expectedOutput", row.get("expected_output")))
        return of_dataset(asked, str(row.get("id")), str(name) if name else None, metadata, expected)
    trace = row.get("traceId") or row.get("trace_id") or row.get("id")
    return {
        "session_id": row.get("sessionId") or row.get("session_id"),
        **asked,
        "id": row.get("id"),
        "answer": answer_of(row.get("output")),
        "metadata": {"langfuse_trace": trace},
    }


def of_dataset(
    asked: dict[str, Any], item: str, dataset: str | None, metadata: dict[str, Any], expected: str | None
) -> dict[str, Any]:
    """Return the fields of a dataset's item; ``metadata`` names it, so that a run can be linked to it."""
    expectations: dict[str, Any] = {
        key: metadata[key] for key in ("expected_flow", "expected_domain") if key in metadata
    }
    named = {"langfuse_dataset": dataset} if dataset else {}
    return {
        **asked,
        **expectations,
        "id": item,
        "expected": expected,
        "metadata": {**metadata, **named, "langfuse_item": item},
    }


def of_input(given: Any) -> dict[str, Any] | str:
    """Return the fields that an input gives: it is the question, an object that holds it, or a conversation."""
    if isinstance(given, dict):
        question = next((given[key] for key in QUESTION if isinstance(given.get(key), str)), None)
        if question is not None:
            return {"question": question, **{key: given[key] for key in _ASIDE if key in given}}
        given = _called(given) or given.get("messages")
    if isinstance(given, list):
        said = [each for each in map(said_of, given) if isinstance(each, Said) and each.role in ("user", "assistant")]
        if said and said[-1].role == "user":
            return {"question": said[-1].text, "history": [each.message() for each in said[:-1]]}
    if isinstance(given, str) and given:
        return {"question": given}
    return f"its input names no question: one of {', '.join(QUESTION)}, or messages that a user's ends"


def _called(given: dict[str, Any]) -> Any:
    """Return the one value that a function was called with, as Langfuse's own decorator keeps it; None: it is none."""
    args, named = given.get("args") or [], given.get("kwargs") or {}
    if not (given.keys() <= _CALL and isinstance(args, list) and isinstance(named, dict)):
        return None
    values = [*args, *named.values()]
    return values[0] if len(values) == 1 else None


def answer_of(given: Any) -> str | None:
    """Return the text of an output: it is the text, or an object that holds it; else it is told as JSON."""
    if given is None or isinstance(given, str):
        return given or None
    if isinstance(given, dict):
        for key in ANSWER:
            text = text_of_content(given.get(key))
            if text is not None:
                return text
    return json.dumps(given, ensure_ascii=False)


def _within(value: Any) -> Any:
    """Return what a text says in JSON, also where that is a text of JSON again; any other value as it is."""
    for _ in range(2):
        if not (isinstance(value, str) and value[:1] in ('"', "{", "[")):
            return value
        try:
            value = parse(value)
        except ValueError:
            return value  # a text that begins as JSON does
    return value
