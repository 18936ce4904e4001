"""Plain texts with a question a line, and files that name the column of their questions otherwise."""

from __future__ import annotations

import io
from pathlib import Path

import openpyxl
import pytest
from replay.reading import Found, found, of_file

from producer.replay.files import read_file, read_stream
from producer.replay.opening import NO_TEXT
from producer.replay.reads import Hints

A_LINE = "is read as a question a line"
LIST = "is read as a list of questions: the mark before each is left out"


def read(tmp_path: Path, content: str | bytes, name: str = "q.txt", column: str = "") -> Found:
    return of_file(tmp_path / name, content, column=column)


@pytest.mark.parametrize("name", ["q.txt", "q.TXT", "questions", "q.md", "q.txt.gz"])
def test_a_text_has_a_question_a_line(tmp_path: Path, name: str) -> None:
    result = read(tmp_path, "How do I pay, and when?\r\n\r\n  Where is it?\t\r\n", name)

    assert (result.questions, result.notes) == ([(1, "How do I pay, and when?"), (3, "Where is it?")], [A_LINE])


def test_stdin_has_a_question_a_line_too() -> None:
    result = found(read_stream(io.BytesIO("\ufeffكيف أدفع؟\nأين طردي؟".encode())))

    assert (result.questions, result.notes) == ([(1, "كيف أدفع؟"), (2, "أين طردي؟")], [A_LINE])


@pytest.mark.parametrize(
    "content",
    ["- How?\n- Why?\n", "* [ ] How?\n* [x] Why?\n", "1. How?\n2. Why?\n", "9) How?\n10) Why?\n", "• How?\n• Why?\n"],
)
def test_the_marks_of_a_list_belong_to_no_question(tmp_path: Path, content: str) -> None:
    result = read(tmp_path, content)

    assert (result.questions, result.notes) == ([(1, "How?"), (2, "Why?")], [LIST])


def test_lists_have_the_marks_of_their_language(tmp_path: Path) -> None:
    pairs = (
        "１． ２．",
        "一、 二、",
        "① ②",
        "・ ・",
        "（1） （2）",
        "(1)_ (2)_",
        "[1]_ [2]_",
        "a)_ b)_",
        "١-_ ٢-_",
        "१._ २._",
        "Q1:_ Q2:_",
        ">_ >_",
    )
    for pair in pairs:
        one, two = (mark.replace("_", " ") for mark in pair.split())
        result = read(tmp_path, f"{one}Where?\n{two}When?\n")

        assert (result.questions, result.notes) == ([(1, "Where?"), (2, "When?")], [LIST]), pair
    # An abbreviated name is no mark.
    assert read(tmp_path, "M. Diaz a payé ?\nM. Roy aussi ?\n").questions[0] == (1, "M. Diaz a payé ?")


def test_headings_that_are_questions_are_not_left_out_for_their_answers(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="its headings are questions, and what follows them the answers"):
        read(tmp_path, "# FAQ\n\n## How?\n\nSo.\n\n## Why?\n\nThus.\n", "q.md")


def test_a_line_of_a_list_without_a_mark_is_named(tmp_path: Path) -> None:
    result = read(tmp_path, "- How?\n- Why\n  is that?\n- So?\n")

    assert result.questions == [(1, "How?"), (2, "Why"), (4, "So?")]
    assert result.faults == [(3, "it is no item of the list that the first lines are; write each question in one line")]


def test_one_line_with_a_mark_makes_no_list(tmp_path: Path) -> None:
    assert read(tmp_path, "5. May or 6. May?\nHow?\n").questions == [(1, "5. May or 6. May?"), (2, "How?")]


def test_headings_of_markdown_are_no_questions_and_rows_of_a_table_are_named(tmp_path: Path) -> None:
    content = "# Parcels\n\n1. Where?\n2. When?\n\n## Other\n\n3. #1 or #2?\n\n| question | id |\n"

    result = read(tmp_path, content, "q.md")

    assert result.questions == [(3, "Where?"), (4, "When?"), (8, "#1 or #2?")]
    assert result.faults == [(10, "it is a row of a table; give the table in a file of its own")]
    assert result.notes == [LIST, "has 2 headings, which are no questions"]


def test_a_line_that_cannot_be_asked_is_named_and_the_next_is_asked(tmp_path: Path) -> None:
    result = read(tmp_path, "größer\nschön\n".encode() + b"gr\xfcn\na\0b\n" + b"x" * 32_001 + b"\nHow?\n")

    assert result.questions == [(1, "größer"), (2, "schön"), (6, "How?")]
    assert [(number, reason.partition(":")[0]) for number, reason in result.faults] == [
        (3, NO_TEXT),
        (4, "question"),
        (5, "question"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("q.txt", "1\tHow?\n2\tWhy?\n", "its lines have tabs, as cells of a sheet do: write the names"),
        ("q.yaml", "- How?\n", "it is YAML: write its questions as JSON lines"),
        ("q.tex", "How?\n", "its first line names no column 'question', and it is no JSON; a text with a question"),
        ("q.xls", "<html><table><tr><td>question</td></tr></table>", "it is a web page or other XML: open it in"),
        ("q", '<?xml version="1.0"?><questions/>', "it is a web page or other XML: open it in"),
        (
            "q.csv",
            "How?\nWhy?\n",
            "but How.; name the one .* `--column NAME`; where each line is a question, name the file .txt",
        ),
    ],
)
def test_a_file_of_another_kind_is_not_asked_line_by_line(tmp_path: Path, name: str, content: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read(tmp_path, content, name)


@pytest.mark.parametrize("content", ["[1] How?\nWhy?\n", '"How" is it?\nWhy?\n'])
def test_a_text_may_begin_with_a_bracket_or_a_quote(tmp_path: Path, content: str) -> None:
    assert [number for number, _ in read(tmp_path, content).questions] == [1, 2]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("q.csv", "ID;Frage;question\n7;Wie?;x\n"),
        ("q.tsv", "id\tfrage\n7\tWie?\n"),
        ("q.txt", "id,FRAGE\n7,Wie?\n"),
        ("q.jsonl", '{"id": 7, "Frage": "Wie?"}\n'),
        ("q.json", '{"rows": [{"id": "7", "Frage": "Wie?"}]}'),
    ],
)
def test_a_person_may_say_in_which_column_the_questions_are(tmp_path: Path, name: str, content: str) -> None:
    if ";" in content:
        with pytest.raises(ValueError, match="has the columns 'Frage' and 'question'"):
            read(tmp_path, content, name, "Frage")
        content = content.replace(";question", "").replace(";x", "")

    (item,) = read(tmp_path, content, name, "Frage").items

    assert (item.id, item.question, item.metadata) == ("7", "Wie?", {})


def test_so_may_a_person_for_a_workbook(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(("質問", "id"))
    book.active.append(("どこ？", 7))
    book.save(tmp_path / "q.xlsx")

    (item,) = found(read_file(tmp_path / "q.xlsx", Hints(column="質問"))).items

    assert (item.id, item.question) == ("7", "どこ？")
    with pytest.raises(ValueError, match="no sheet has a row with a column 'Frage': Sheet; name the one that holds"):
        list(read_file(tmp_path / "q.xlsx", Hints(column="Frage")))


@pytest.mark.parametrize(("name", "content"), [("q.csv", "a,b\n1,2\n"), ("q.txt", "How?\n")])
def test_a_column_that_is_not_there_is_told(tmp_path: Path, name: str, content: str) -> None:
    with pytest.raises(ValueError, match="names no column 'Frage'"):
        read(tmp_path, content, name, "Frage")
