"""Workbooks that are damaged, sparse, computed, hidden: each good row is asked, and what cannot be is named."""

from __future__ import annotations

import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from replay.reading import found

from producer.replay.files import read_file

SHEET = "xl/worksheets/sheet1.xml"


def workbook(tmp_path: Path, *rows: tuple[Any, ...], change: Callable[[Any], Any] = str) -> Path:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    change(book)
    book.save(tmp_path / "q.xlsx")
    return tmp_path / "q.xlsx"


def rewritten(path: Path, part: str, change: Callable[[bytes], bytes]) -> Path:
    """Change one part of a workbook."""
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in parts.items():
            new.writestr(name, change(content) if name == part else content)
    return path


def test_the_rows_before_a_place_where_a_workbook_is_damaged_are_asked(tmp_path: Path) -> None:
    path = workbook(tmp_path, ("question",), ("One?",), ("Two?",), ("Three?",))
    rewritten(path, SHEET, lambda xml: xml[: xml.index(b'<row r="4"') + 12])

    result = found(read_file(path))

    assert result.questions == [(2, "One?"), (3, "Two?")]
    assert [(number, reason.partition(":")[0]) for number, reason in result.faults] == [
        (4, "the sheet is damaged here, and nothing after it is read")
    ]


def test_a_worksheet_whose_rows_lie_far_apart_is_read_at_once(tmp_path: Path) -> None:
    path = workbook(tmp_path, ("question",), change=lambda book: book.active.cell(900_000, 1, "Far?"))

    tracemalloc.start()
    result = found(read_file(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert result.questions == [(900_000, "Far?")]
    assert peak < 20_000_000


def test_a_row_is_shown_without_the_empty_cells_after_it(tmp_path: Path) -> None:
    (problem,) = found(read_file(workbook(tmp_path, ("id", "question"), (1, None)))).problems

    assert problem.text == "1"


def test_a_question_that_is_a_formula_without_a_value_or_with_an_error_is_named(tmp_path: Path) -> None:
    path = workbook(
        tmp_path, ("id", "question", "expected"), (1, '="Why"&"?"'), (2, "How?", "#N/A"), (3, "What?", "=1+1")
    )

    result = found(read_file(path))

    assert result.questions == [(4, "What?")]
    assert result.faults == [
        (2, "question: the value of its formula is not in the file; open the workbook in Excel and save it"),
        (3, "expected: #N/A is an error of a formula, and no text"),
    ]


def test_an_escaped_character_of_a_cell_is_that_character(tmp_path: Path) -> None:
    path = workbook(tmp_path, ("question",), ("one_x000D_\ntwo",), ("a_x0000_b",), ("snake_x_case",))

    result = found(read_file(path))

    assert result.questions == [(2, "one\r\ntwo"), (4, "snake_x_case")]
    assert result.faults == [(3, "question: U+0000 (control character) at position 2 can be neither stored nor shown")]


def test_a_sheet_that_is_shown_is_preferred_to_a_hidden_one_and_a_hidden_one_is_said_to_be(tmp_path: Path) -> None:
    def hide(book: Any) -> None:
        hidden = book.create_sheet("Old", 0)
        hidden.append(("question",))
        hidden.append(("Hidden?",))
        hidden.sheet_state = "hidden"
        book.active = 1

    both = found(read_file(workbook(tmp_path, ("question",), ("Shown?",), change=hide)))
    alone = found(read_file(workbook(tmp_path, ("notes",), change=hide)))

    assert both.questions == [(2, "Shown?")]
    assert alone.questions == [(2, "Hidden?")]
    assert alone.notes == ["is a workbook; read is the sheet 'Old', which is hidden; its 1 other sheet is not read"]


def test_that_another_sheet_has_questions_too_is_said(tmp_path: Path) -> None:
    def add(book: Any) -> None:
        book.create_sheet("May").append(("question",))
        book.create_sheet("Notes").append(("nothing",))

    result = found(read_file(workbook(tmp_path, ("question",), ("One?",), change=add)))

    assert result.questions == [(2, "One?")]
    assert result.notes == [
        "is a workbook; read is the sheet 'Sheet'; its 2 other sheets are not read, though questions are in 'May'"
    ]


@pytest.mark.parametrize(
    ("inside", "reason"),
    [
        ("EncryptedPackage", "it has a password: save it without one"),
        ("Workbook", "of the old kind .*: save it as .xlsx"),
    ],
)
def test_an_old_workbook_and_one_with_a_password_are_told_apart(tmp_path: Path, inside: str, reason: str) -> None:
    (tmp_path / "q.xlsx").write_bytes(b"\xd0\xcf\x11\xe0" + bytes(1000) + inside.encode("utf-16-le"))

    with pytest.raises(ValueError, match=reason):
        list(read_file(tmp_path / "q.xlsx"))
