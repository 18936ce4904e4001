"""A row that sums up those above it is asked like any other, and pointed at."""

from __future__ import annotations

from pathlib import Path

import openpyxl
from replay.reading import found, of_file

from producer.replay.files import read_file

ROWS = "id,question,minutes\n1,How do I reset my password?,3\n2,Where is my parcel?,5\n"


def noted(path: Path, content: str) -> list[str]:
    return [note for note in of_file(path, content).notes if "sums up" in note]


def test_a_last_row_of_a_label_and_numbers_is_pointed_at(tmp_path: Path) -> None:
    for last in (",Total,8", ",Summe:,8", ",ИТОГО,8", ",合計,8", ",Together,8", ",All of them,8.00 €"):
        read = of_file(tmp_path / "q.csv", f"{ROWS}{last}\n")

        assert "sums up the rows above in line 4, it seems; asked as written" in read.notes
        assert [number for number, _ in read.questions] == [2, 3, 4]


def test_other_rows_are_not(tmp_path: Path) -> None:
    others = (
        "3,Password forgotten,4",  # a question like any other, short
        ",Total cost of my order?,8",
        ",Refund?,8",
        ",Total,8\n4,And where is my refund?,9",  # not the last one
        ",Refund my money now please,8",
    )

    assert [noted(tmp_path / "q.csv", f"{ROWS}{rows}\n") for rows in others] == [[]] * len(others)


def test_a_row_with_a_formula_over_rows_is_pointed_at_wherever_it_stands(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    rows = [("question", "a", "b", "both"), *((f"Question {n}?", n, n, f"=SUM(B{n}:C{n})") for n in (2, 3))]
    for row in [*rows, ("Ours", "=SUM(B2:B3)", "=SUM(C2:C3)"), ("One more?", 1, 1, "=SUM(B5:C5)")]:
        book.active.append(row)
    book.save(tmp_path / "q.xlsx")

    read = found(read_file(tmp_path / "q.xlsx"))

    assert "sums up the rows above in line 4, it seems; asked as written" in read.notes
    assert [number for number, _ in read.questions] == [2, 3, 4, 5]
