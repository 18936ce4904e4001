"""Rows that are read as a person sees them, lines that are no questions, and odd questions that are pointed at."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from replay.reading import found, of_file

from producer.replay.files import read_file


def merged(book: Any, *ranges: str) -> None:
    for each in ranges:
        book.active.merge_cells(each)


def saved(tmp_path: Path, rows: list[tuple[Any, ...]], *ranges: str) -> Path:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    merged(book, *ranges)
    book.save(tmp_path / "q.xlsx")
    return tmp_path / "q.xlsx"


def test_a_cell_that_is_merged_over_rows_holds_for_each_of_them(tmp_path: Path) -> None:
    rows = [("session_id", "question"), ("chat", "One?"), (None, "Two?"), (None, None), ("other", "Three?")]
    result = found(read_file(saved(tmp_path, rows, "A2:A4")))

    assert [(item.session_id, item.question) for item in result.items] == [
        ("chat", "One?"),
        ("chat", "Two?"),
        ("other", "Three?"),
    ]
    assert "has cells merged over several rows; their value is read in each of these" in result.notes


def test_names_of_columns_in_two_rows_are_no_question(tmp_path: Path) -> None:
    rows = [("question", "output"), (None, "expected"), ("One?", "x")]
    result = found(read_file(saved(tmp_path, rows, "A1:A2")))

    assert result.questions == [(3, "One?")]
    assert result.faults == [(2, "it names its column again")]


def test_a_formula_without_a_value_is_named_in_every_field(tmp_path: Path) -> None:
    result = found(read_file(saved(tmp_path, [("question", "expected"), ("One?", "=1+1"), ("Two?", "=1+1")])))

    assert result.questions == [(2, "One?"), (3, "Two?")]
    assert [note for note in result.notes if note.startswith("has nothing for 'expected' in row 2")]


def test_an_archive_in_an_archive_and_a_message_of_outlook_are_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as inner:
        inner.writestr("q.csv", "question\nWhy?\n")
    with zipfile.ZipFile(tmp_path / "out.zip", "w") as outer:
        outer.write(tmp_path / "in.zip", "in.zip")
    (tmp_path / "q.msg").write_bytes(b"\xd0\xcf\x11\xe0" + "__substg1.0_".encode("utf-16-le"))

    for name, reason in (("out.zip", "where it is one within another, unpack"), ("q.msg", "a message of Outlook's")):
        with pytest.raises(ValueError, match=reason):
            found(read_file(tmp_path / name))


def test_lines_that_draw_a_table_or_code_are_not_asked(tmp_path: Path) -> None:
    result = of_file(tmp_path / "q.txt", "+---+\n| id | question |\n+---+\n```python\nWhy?\n1. How?\n```\n")

    assert result.questions == [(5, "Why?"), (6, "1. How?")]
    assert len(result.faults) == 5
    assert "has marks of a list from line 6 on, which are asked: a list begins in its first line" in result.notes


def test_what_excel_was_forced_to_take_as_text_is_read(tmp_path: Path) -> None:
    result = of_file(tmp_path / "q.csv", 'id,question\n="001","=""Why """"so""""?"""\n')

    assert [(item.id, item.question) for item in result.items] == [("001", 'Why "so"?')]


def test_odd_questions_are_asked_and_pointed_at(tmp_path: Path) -> None:
    odd = [
        "42",
        "???",
        "!",
        "...",
        "O\ufffd est?",
        "Où est la réponse?".encode().decode("cp1252", "ignore"),
        "A &amp; b?",
    ]
    result = of_file(
        tmp_path / "q.csv", "id,question\n" + "".join(f"{number},{each}\n" for number, each in enumerate(odd))
    )

    assert len(result.items) == 7
    assert [note for note in result.notes if note.startswith("has 4 questions without a word (lines 2, 3, 4, …)")]
    assert [note for note in result.notes if "U+FFFD" in note]
    assert [note for note in result.notes if "as in HTML" in note]


def test_a_file_that_changes_while_it_is_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text("id,question\n1,Why?\n2,How?\n")
    reads = read_file(path)
    first = next(reads)
    path.write_text("id,question\n")

    assert any("has changed while it was read" in note for note in found([first, *reads]).notes)


def test_a_file_of_another_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="it is no text but a file of another program"):
        found(read_file(_written(tmp_path / "q.avro", b"Obj\x01\x04\x14avro.codec\x08null")))


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
