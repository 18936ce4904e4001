"""What a file is, or how it was written, is told by its bytes and first lines: it is read so, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from replay.reading import of_file

#: Texts whose lines are no questions, as they are saved or renamed to `.txt`.
OTHERS = {
    "mail": (
        "From a@b.c Mon Nov 23 10:11:12 2026\nFrom: a@b.c\n\nWhere is it?\n",
        "Subject: Parcel\nMIME-Version: 1.0\n\nWhere is it?\n",
        "Received: from x\nX-Spam: no\nMessage-ID: <1@b.c>\n",
    ),
    "begin with a time": (
        "[23.11.26, 10:11:12] Anna: Wo ist es?\nweiter\n".replace("weiter", "[23.11.26, 10:12:12] Ben: Da."),
        "11/23/26, 10:12 PM - Anna: Where is it?\n11/23/26, 10:13 PM - Ben: There\n",
        "2026-11-23T10:11:12Z INFO x\n2026-11-23T10:11:13Z INFO y\n",
        "10:11:12 From Anna to Everyone: Where?\n10:11:19 From Ben to Everyone: There\n",
        "As mensagens são protegidas.\n31/12/2024 22:01 - Ana: Onde?\n31/12/2024 22:02 - Rui: Aqui\n",
        "\u200f٣١/١٢/٢٠٢٤، ١٠:٠١ م - أحمد: أين؟\n\u200f٣١/١٢/٢٠٢٤، ١٠:٠٢ م - علي: هنا\n",
        "2024년 12월 31일 오후 10:01, 김: 어디?\n2024년 12월 31일 오후 10:02, 이: 여기\n",
        "[홍길동] [오후 10:01] 어디예요?\n[김] [오후 10:02] 여기\n",
        "Jan  1 10:00:00 host app[1]: x\nJan  1 10:00:01 host app[1]: y\n",
        "2024-12-31 22:01:10 张三\n在哪?\n2024-12-31 22:02:10 李四\n在家\n",
    ),
    "begin with who speaks": (
        "Anna: Where is my parcel?\nAgent: On its way.\nAnna: When does it come?\nAgent: Tomorrow.\n",
        "質問：荷物はどこですか\n回答： 配達中です\n".replace("：", "： ") * 3,
    ),
    "SQL": (
        "-- MySQL dump 10.13\n",
        "INSERT INTO q VALUES (1, 'How?');\n",
        "*************************** 1. row ********\nid: 1\n",
    ),
    "aligned by spaces": ("ID    QUESTION        ANSWER\n1     How is it?      Fine\n",),
    "subtitles": ("1\n00:00:01,000 --> 00:00:02,000\nHello?\n", "WEBVTT\n\n00:01.000 --> 00:02.000\nHello?\n"),
    "an address book": ("BEGIN:VCALENDAR\nVERSION:2.0\n", "BEGIN:VCARD\nVERSION:3.0\n"),
}


def test_a_text_whose_lines_are_no_questions_is_refused_by_its_kind(tmp_path: Path) -> None:
    for kind, contents in OTHERS.items():
        for content in contents:
            with pytest.raises(ValueError, match=kind):
                of_file(tmp_path / "q.txt", content)


def test_questions_that_begin_with_a_date_or_a_time_are_asked(tmp_path: Path) -> None:
    texts = (
        "24.12.2026 bin ich weg, wann kommt es?\nWas kostet es?\n",
        "10 Uhr oder 11?\n10:30 Uhr geht das?\n",
        # Nor is a subject before each of them who speaks.
        "Parcel: where is it?\nBill: why is it so high?\nParcel: when?\nBill: paid?\n",
        "INSERT INTO fails, why?\nCREATE TABLE does, too?\n",
        "Card: block it\nCard: raise the limit\nCard: order one\nBill: pay it\nBill: send it\n",
    )

    assert [len(of_file(tmp_path / "q.txt", text).items) for text in texts] == [2, 2, 4, 2, 5]


def test_an_encoding_that_shifts_its_alphabet_is_told_by_its_shifts(tmp_path: Path) -> None:
    for text, codec in (("荷物はどこですか？", "iso2022_jp"), ("소포가 어디에 있나요?", "iso2022_kr")):
        read = of_file(tmp_path / "q.csv", f"id,question\n1,{text}\n2,Plain?\n".encode(codec))

        assert read.questions == [(2, text), (3, "Plain?")]
        assert read.notes == [f"has no byte order mark; read as {codec.upper()}"]


def test_a_mainframes_text_is_read_once_its_kind_is_told(tmp_path: Path) -> None:
    content = "id,question\n1,Where is it?\n".encode("cp500")

    with pytest.raises(ValueError, match=r"EBCDIC; say which, such as `--encoding cp500`"):
        of_file(tmp_path / "q.csv", content)
    assert of_file(tmp_path / "q.csv", content, encoding="cp500").questions == [(2, "Where is it?")]


def test_what_may_be_nothing_and_what_may_be_utf_7_is_pointed_at(tmp_path: Path) -> None:
    read = of_file(
        tmp_path / "q.csv", "id,question\n1,NULL\n2,Is NULL a value?\n3,(null)\n4,Sch+APY-n?\n5,C++-17 or a+b-c?\n"
    )

    assert read.notes == [
        "has 2 questions that may stand for nothing, as NULL does (lines 2, 4); asked as written",
        "has 1 question that may be UTF-7 (`--encoding utf-7` reads it) (line 5); asked as written",
    ]


def test_quotes_with_a_backslash_are_read(tmp_path: Path) -> None:
    rows = ['1,"He said \\"hi\\" to me?"', "2,Two?", '3,"ends with \\"one\\""', '4,"a ""usual"" one"', '5,"open\\" one']
    read = of_file(tmp_path / "q.csv", "id,question\n" + "\n".join(rows))

    assert [text for _, text in read.questions] == ['He said "hi" to me?', "Two?", 'ends with "one"', 'a "usual" one']
    assert [number for number, _ in read.faults] == [6]
    assert read.notes == ['has quotes written as \\" from line 2 on; they are read as quotes']


def test_a_table_by_the_names_of_its_rows_is_read(tmp_path: Path) -> None:
    table = {"a": {"question": "One?"}, "b": {"question": "Two?", "flow": "poet"}}

    for indent in (None, 2):
        read = of_file(tmp_path / "q.json", json.dumps(table, indent=indent))
        assert [(item.id, item.question) for item in read.items] == [("a", "One?"), ("b", "Two?")]


def test_instructions_that_stand_hidden_before_a_chat_are_not_asked(tmp_path: Path) -> None:
    def node(name: str, parent: str | None, message: object) -> dict[str, object]:
        return {"id": name, "parent": parent, "message": message}

    def of_user(content: dict[str, object], *, hidden: bool) -> dict[str, object]:
        about = {"is_visually_hidden_from_conversation": True} if hidden else {}
        return {"author": {"role": "user"}, "content": content, "metadata": about}

    own = of_user({"content_type": "user_editable_context", "user_instructions": "Be brief."}, hidden=True)
    asked = of_user({"content_type": "text", "parts": ["Where is it?"]}, hidden=False)
    mapping = {each["id"]: each for each in (node("r", None, None), node("a", "r", own), node("b", "a", asked))}
    chat = {"title": "t", "conversation_id": "c", "current_node": "b", "mapping": mapping}

    read = of_file(tmp_path / "q.json", json.dumps([chat]))

    assert ([item.question for item in read.items], read.faults) == (["Where is it?"], [])
