"""JSON that others write: tables in one object, pages, instructions, batches; each good row, and no cut one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from replay.reading import Found, of_file

ROWS = [("a", "Why?"), ("b", "How?")]
COLUMNS = {"id": ["a", "b"], "question": ["Why?", "How?"]}


def value(tmp_path: Path, given: Any, column: str = "") -> Found:
    return of_file(tmp_path / "q.json", json.dumps(given), column=column)


@pytest.mark.parametrize("column", ["", "question"])
@pytest.mark.parametrize(
    "table",
    [
        COLUMNS,
        {name: dict(zip("01", each, strict=True)) for name, each in COLUMNS.items()},
        {"columns": ["id", "question"], "index": [0, 1], "data": ROWS},
        {"columns": ["id", "question"], "data": ROWS},
        [{"id": id, "question": question} for id, question in ROWS],
    ],
    ids=["lists", "numbered", "split", "rows", "records"],
)
def test_a_table_is_read_row_by_row_in_whatever_way_it_is_written(tmp_path: Path, table: Any, column: str) -> None:
    result = value(tmp_path, table, column)

    assert [(item.id, item.question) for item in result.items] == ROWS
    assert not result.problems


@pytest.mark.parametrize(
    "table",
    [{"question": ["Why?"], "id": ["a", "b"]}, {"question": {"text": "Why?", "lang": "en"}}, {"question": [5]}],
    ids=["uneven", "object", "number"],
)
def test_what_is_no_table_is_named_and_not_asked(tmp_path: Path, table: Any) -> None:
    result = value(tmp_path, table)

    assert not result.items
    assert result.faults == [(1, "question: it should be a text")]


def test_a_page_of_hugging_face_is_read_with_its_features_and_a_cut_row_is_named(tmp_path: Path) -> None:
    def row(number: int, question: str, *cut: str) -> dict[str, Any]:
        return {"row_idx": number, "row": {"question": question, "answer": "B"}, "truncated_cells": list(cut)}

    page = {
        "features": [{"feature_idx": 0}],
        "rows": [row(0, "Why?"), row(1, "Long que", "question")],
        "partial": False,
    }
    result = value(tmp_path, page)

    assert [item.question for item in result.items] == ["Why?"]
    assert result.faults == [(1, "the datasets server has cut its question")]


def test_an_instruction_is_asked_with_its_input(tmp_path: Path) -> None:
    given = [
        {"instruction": "Translate", "input": "Guten Morgen", "output": "Good morning"},
        {"instruction": "Which is a fish?", "context": "", "response": "Tope", "category": "classification"},
    ]

    for column in ("", "instruction"):
        result = value(tmp_path, given, column)
        assert [(item.question, item.expected) for item in result.items] == [
            ("Translate\n\nGuten Morgen", "Good morning"),
            ("Which is a fish?", "Tope"),
        ]


def test_an_empty_text_is_as_a_value_that_is_not_given(tmp_path: Path) -> None:
    fields = ("id", "session_id", "flow", "domain", "context", "user", "history", "config", "metadata", "cache")
    result = value(tmp_path, [{"question": "Why?", **dict.fromkeys(fields, "")}, {"question": ""}])

    assert result.questions == [(1, "Why?")]
    assert result.faults == [(1, "question: it should have at least 1 character")]


def test_json_within_a_text_and_an_array_in_each_line_are_read(tmp_path: Path) -> None:
    twice = "\n".join(json.dumps(json.dumps({"question": each})) for each in ("Why?", "How?"))
    arrays = '[{"question": "Why?"}]\n[{"question": "How?"}]\n'

    for content in (twice, arrays):
        result = of_file(tmp_path / "q.jsonl", content)
        assert result.questions == [(1, "Why?"), (2, "How?")]
    assert [item.question for item in value(tmp_path, ["{braces} in a text?"]).items] == ["{braces} in a text?"]


@pytest.mark.parametrize(
    "line",
    [
        {"custom_id": "x", "params": {"messages": [{"role": "user", "content": "Why?"}]}},
        {"recordId": "x", "modelInput": {"messages": [{"role": "user", "content": "Why?"}]}},
        {"id": "x", "timestamp": "2026", "sessionId": "s", "input": {"args": ["Why?"], "kwargs": {}}, "output": None},
        {"id": "x", "timestamp": "2026", "sessionId": "s", "input": {"args": [], "kwargs": {"q": "Why?"}}, "output": 1},
    ],
    ids=["anthropic", "bedrock", "decorator", "decorator by name"],
)
def test_lines_of_batches_and_what_a_function_was_called_with_are_read(tmp_path: Path, line: Any) -> None:
    assert [(item.id, item.question) for item in value(tmp_path, line).items] == [("x", "Why?")]
