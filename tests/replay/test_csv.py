"""CSV as people have it: whatever wrote it, a good row is asked and a faulty one is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from replay.reading import Found, of_file

from producer.replay.csv_source import MAX_ROW
from producer.replay.opening import NO_TEXT

OPEN = 'a quote is not closed, or stands inside a cell in quotes, where it is written twice ("")'


def read(tmp_path: Path, content: str | bytes, name: str = "q.csv", encoding: str = "") -> Found:
    return of_file(tmp_path / name, content, encoding)


@pytest.mark.parametrize(
    ("rows", "questions", "faults"),
    [
        ('1,"What is 5" wide?\n2,How?\n3,"Why?"\n', [(3, "How?"), (4, "Why?")], [(2, OPEN)]),
        ('1,"open\n2,How?\n3,"Why?"\n4,"So, it is"\n', [(3, "How?"), (4, "Why?"), (5, "So, it is")], [(2, OPEN)]),
        ('1,"open\n2,How?\n3,Why?\n', [(3, "How?"), (4, "Why?")], [(2, OPEN)]),
        ('1,How?\n2,Why?\n3,"open at the end', [(2, "How?"), (3, "Why?")], [(4, OPEN)]),
        ('1,a "word" inside\n2,5" wide\n', [(2, 'a "word" inside'), (3, '5" wide')], []),
        ('1,"a ""word"" inside"\n2,""""\n', [(2, 'a "word" inside'), (3, '"')], []),
        ('1,"two\nlines"\n2,"three\r\n\r\nlines"\n', [(2, "two\nlines"), (4, "three\r\n\r\nlines")], []),
        ('1,"a" \n2,How?\n', [(3, "How?")], [(2, OPEN)]),
    ],
)
def test_a_stray_quote_costs_its_own_row_and_no_other(
    tmp_path: Path, rows: str, questions: list[tuple[int, str]], faults: list[tuple[int, str]]
) -> None:
    found = read(tmp_path, f"id,question\n{rows}")

    assert (found.questions, found.faults) == (questions, faults)


def test_a_quote_that_swallows_whole_rows_and_is_closed_by_chance_is_seen(tmp_path: Path) -> None:
    found = read(tmp_path, 'id,question,x\n1,"open,a\n2,How?,b\n3,Why?,c"\n4,So?,d\n')

    assert found.faults == [(2, OPEN)]
    assert found.questions == [(3, "How?"), (4, "Why?"), (5, "So?")]


def test_a_cell_that_may_have_swallowed_rows_is_read_as_csv_says_and_pointed_at(tmp_path: Path) -> None:
    found = read(tmp_path, 'id,question\n1,"open\n2,How?\n3,5 inches"\n4,So?\n')

    assert found.questions == [(2, "open\n2,How?\n3,5 inches"), (5, "So?")]
    assert found.notes == ["has a cell in quotes from line 2 to 4, with what looks like rows of their own"]


def test_a_hundred_thousand_stray_quotes_are_read_in_linear_time(tmp_path: Path) -> None:
    found = read(tmp_path, "id,question\n" + '1,"open\n2,How?\n' * 50_000)

    assert len(found.items) == 50_000
    assert len(found.problems) == 50_000


@pytest.mark.parametrize(
    ("separator", "note"),
    [
        (",", []),
        (";", ["has a semicolon between its columns"]),
        ("\t", ["has a tab between its columns"]),
        ("|", ["has a bar between its columns"]),
    ],
)
def test_every_usual_separator_is_found_and_told(tmp_path: Path, separator: str, note: list[str]) -> None:
    text = f'id{separator}question\n1{separator}"a;b,c|d\te"\n'

    found = read(tmp_path, text)

    assert found.questions == [(2, "a;b,c|d\te")]
    assert found.notes == note


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "SEP=;"])
def test_a_file_may_name_its_separator(tmp_path: Path, line: str) -> None:
    found = read(tmp_path, f"{line}\r\nid;question\r\n1;a,b\r\n")

    assert (found.questions, found.notes) == ([(3, "a,b")], [])


@pytest.mark.parametrize("name", ["q.tsv", "q.tab"])
def test_the_ending_of_a_name_may_say_it_too(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, "id\tquestion\n1\ta,b\n", name).questions == [(2, "a,b")]


def test_where_there_is_one_column_nothing_separates(tmp_path: Path) -> None:
    found = read(tmp_path, 'question\nHello, who is it; you?\n"quoted, too"\n')

    assert found.questions == [(2, "Hello, who is it; you?"), (3, "quoted, too")]
    assert found.notes == ["has one column, and nothing separates columns"]


QUESTION = "Wie groß ist „Zoë“?"


@pytest.mark.parametrize(
    ("encoding", "note"),
    [
        ("utf-8", []),
        ("utf-8-sig", []),
        ("utf-16", []),
        ("utf-32", []),
        ("utf-16-le", ["has no byte order mark; read as UTF-16-LE"]),
        ("utf-16-be", ["has no byte order mark; read as UTF-16-BE"]),
        ("utf-32-le", ["has no byte order mark; read as UTF-32-LE"]),
        ("utf-32-be", ["has no byte order mark; read as UTF-32-BE"]),
        ("cp1252", ["is not UTF-8 (first in line 2); read as windows-1252, which fits its words best"]),
    ],
)
def test_every_usual_encoding_is_found_and_what_was_assumed_is_told(
    tmp_path: Path, encoding: str, note: list[str]
) -> None:
    found = read(tmp_path, f"id,question\n1,{QUESTION}\n".encode(encoding))

    assert (found.questions, found.notes) == ([(2, QUESTION)], note)


def test_utf_16_that_begins_in_another_script_is_known_by_its_empty_bytes(tmp_path: Path) -> None:
    found = read(tmp_path, "主题,question\n包裹,它在哪里？\n".encode("utf-16-be"))

    assert (found.questions, found.notes) == ([(2, "它在哪里？")], ["has no byte order mark; read as UTF-16-BE"])


@pytest.mark.parametrize(
    ("encoding", "questions"),
    [
        ("windows-1250", ["Kdy mi přijde zásilka a kdo ji doručí?", "Můžu si změnit heslo?"]),
        (
            "windows-1250",
            ["Mikor érkezik meg a csomagom? Nagyon sürgős", "Hogyan tudom megváltoztatni a gyűjtő nevét?"],
        ),
        ("windows-1250", ["Gdzie jest moja paczka, która miała być wczoraj?", "Jak zmienić hasło?"]),
        ("windows-1250", ["Vă rog să-mi spuneţi unde este coletul", "Aş dori o factură nouă"]),
        ("windows-1250", ["Želim račun za svoju pošiljku", "Kako ću promijeniti zaporku?"]),
        ("windows-1251", ["Где моя посылка?", "Как изменить пароль?"]),
        ("windows-1251", ["Коли прийде моя посилка, будь ласка?", "Як змінити пароль?"]),
        ("windows-1252", ["Où est mon colis ?", "À quelle heure êtes-vous là, déjà ?"]),
        ("windows-1252", ["Wann kommt das Päckchen für Österreich?", "Wie groß ist der Schrank?"]),
        ("windows-1252", ["¿Dónde está mi paquete?", "¿Cuándo llegará mañana?"]),
        ("windows-1252", ["Hvornår får jeg pakken?", "Kan I sende både på søndag?"]),
        ("windows-1252", ["Það er góð spurning: hvað kostar íbúðin á ári?"]),
        ("windows-1253", ["Πού είναι το δέμα μου", "Πώς αλλάζω τον κωδικό"]),
        ("windows-1254", ["Şifremi nasıl değiştirebilirim?", "Kargom nerede kaldı, ışıklar yanmıyor"]),
        ("windows-1255", ["איפה החבילה שלי", "איך משנים את הסיסמה"]),
        ("windows-1256", ["أين طردي الذي طلبته", "كيف أغير كلمة المرور"]),
        ("windows-1257", ["Kur yra mano siuntinys? Ačiū už pagalbą", "Kaip pakeisti slaptažodį?"]),
        ("windows-1257", ["Kad pienāks mana paka?", "Kā nomainīt paroli, lūdzu?"]),
        ("cp874", ["พัสดุของฉันอยู่ที่ไหน", "เปลี่ยนรหัสผ่านอย่างไร"]),
        ("cp932", ["荷物はどこですか", "パスワードを変更したい"]),
        ("gb18030", ["我的包裹在哪里？", "怎么修改密码？"]),
        ("big5", ["我的包裹在哪裡？", "怎麼修改密碼？"]),
        ("cp949", ["소포가 어디에 있나요", "비밀번호를 바꾸고 싶어요"]),
        ("koi8-u", ["Где моя посылка?", "Как изменить пароль?"]),
        ("cp866", ["Где моя посылка?", "Как изменить пароль?"]),
        ("mac-roman", ["Où est mon colis, déjà commandé ?", "À quelle heure êtes-vous là ?"]),
        ("cp850", ["Größe der Übernachtung für zwei?", "Wann kommt das Päckchen?"]),
        ("cp852", ["Gdzie jest moja paczka, która miała być wczoraj?", "Jak zmienić hasło?"]),
    ],
)
def test_the_encoding_is_found_in_which_the_words_are_those_of_a_language(
    tmp_path: Path, encoding: str, questions: list[str]
) -> None:
    result = read(tmp_path, "\n".join(["question\tid", *(f"{each}\t" for each in questions)]).encode(encoding), "q.tsv")

    assert [question for _, question in result.questions] == questions
    assert result.notes == [f"is not UTF-8 (first in line 2); read as {encoding}, which fits its words best"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            b"question\nOk?\nS\xe3\n",
            r"\(first in line 3\) and may be windows-1250 \('Să'\) or windows-1252 \('Sã'\); .*`--encoding",
        ),
        (b"question\n" + bytes(range(0x80, 0x100)) * 3, "from line 2 on it is no text in any encoding"),
    ],
)
def test_an_encoding_that_is_not_clear_is_refused_and_not_guessed(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read(tmp_path, content)


def test_words_that_tell_an_encoding_are_looked_for_in_the_whole_file(tmp_path: Path) -> None:
    german = "".join(f"{n},Größe {n} {'x' * 60}\n" for n in range(20_000))  # more than is looked at in one go

    found = read(tmp_path, f"id,question\n{german}x,Můžu si změnit heslo? Kdy přijde zásilka?\n".encode("cp1250"))

    assert found.items[-1].question == "Můžu si změnit heslo? Kdy přijde zásilka?"


@pytest.mark.parametrize(
    ("encoding", "told", "question"),
    [
        ("cp932", "shift_jis", "請求書を送ってください。カタカナ"),
        ("gb18030", "GB18030", "我们的问题是什么"),
        ("big5", "Big5", "發票在哪裡"),
        ("euc_kr", "euc-kr", "질문이 있어요"),
        ("cp1251", "windows-1251", "Как дела?"),
        ("cp1250", "windows-1250", "Čí žluťoučký kůň"),
        ("cp1252", "windows-1252", QUESTION),
        ("utf-16-le", "utf-16-le", QUESTION),
        ("utf-8-sig", "utf-8", QUESTION),
        ("cp037", "cp037", "Wie geht es?"),
    ],
)
def test_a_file_is_read_in_the_encoding_that_is_told(tmp_path: Path, encoding: str, told: str, question: str) -> None:
    found = read(tmp_path, f"id,question\n1,{question}\n".encode(encoding), encoding=told)

    assert (found.questions, found.notes) == ([(2, question)], [])


def test_a_row_that_is_no_text_in_the_encoding_that_is_told_is_named(tmp_path: Path) -> None:
    rows = (
        "id,question\n1,カタカナ\n".encode("shift_jis") + b"2,\x81\n3,\xfd\xfe\n" + "4,ひらがな\n".encode("shift_jis")
    )

    found = read(tmp_path, rows, encoding="shift_jis")

    assert found.questions == [(2, "カタカナ"), (5, "ひらがな")]
    assert found.faults == [(3, NO_TEXT), (4, NO_TEXT)]


def test_that_a_file_told_to_be_something_else_is_utf_8_is_said(tmp_path: Path) -> None:
    found = read(tmp_path, f"id,question\n1,{QUESTION}\n", encoding="windows-1252")

    assert found.notes[0] == "is read as cp1252, as was asked, but is UTF-8 throughout"
    assert "that may be UTF-8 which was read as windows-1252 before (line 2)" in found.notes[1]


@pytest.mark.parametrize(
    ("content", "told", "reason"),
    [
        ("\ufeffid,question\n1,a\n".encode(), "shift_jis", "byte order mark of UTF-8, so it is not shift_jis"),
        (b"id,question\n1,a\n", "klingon", "there is no encoding 'klingon'; usual ones are windows-1252"),
        (b"id,question\n1,a\n", "base64", "there is no encoding 'base64'"),
        (b"id,question\n1,a\n", "utf\x008", "there is no encoding"),
        (b"PK\x03\x04", "shift_jis", "it is a workbook, which says its encoding itself"),
    ],
)
def test_an_encoding_that_cannot_be_the_files_is_refused(
    tmp_path: Path, content: bytes, told: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        read(tmp_path, content, encoding=told)


def test_a_row_in_another_encoding_than_the_rest_is_named(tmp_path: Path) -> None:
    rows = "id,question\n1,schön\n2,größer\n".encode() + "3,grün\n".encode("cp1252") + b"4,ok\n"

    found = read(tmp_path, rows)

    assert found.questions == [(2, "schön"), (3, "größer"), (5, "ok")]
    assert found.faults == [(4, NO_TEXT)]


def test_a_utf_16_file_that_was_cut_in_a_character_gives_its_whole_rows(tmp_path: Path) -> None:
    found = read(tmp_path, "id,question\n1,How?\n2,Why".encode("utf-16")[:-1])

    assert found.questions == [(2, "How?")]
    assert [number for number, _ in found.faults] == [3]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_may_end_in_any_way(tmp_path: Path, end: str) -> None:
    found = read(tmp_path, end.join(["id,question", "1,How?", "", '2,"a', 'b"', "3,Why?", ""]))

    assert found.questions == [(2, "How?"), (4, f"a{end}b"), (6, "Why?")]


def test_a_cell_with_nul_is_named_and_the_rest_is_asked(tmp_path: Path) -> None:
    found = read(tmp_path, "id,question\n1,a\0b\n2,How?\n")

    assert found.questions == [(3, "How?")]
    assert found.faults == [(2, "question: U+0000 (control character) at position 2 can be neither stored nor shown")]


@pytest.mark.parametrize("cell", ["x" * 10_000_000, "x,y\n" * 2_500_000], ids=["one line", "many lines"])
def test_a_cell_of_ten_megabytes_is_named_and_the_rest_is_asked(tmp_path: Path, cell: str) -> None:
    found = read(tmp_path, f'id,question\n1,"{cell}"\n2,How?\n')

    assert [question for _, question in found.questions] == ["How?"]
    assert found.faults == [(2, "question: it should have at most 32000 characters")]


def test_a_line_that_is_too_long_to_hold_is_named_and_the_rest_is_asked(tmp_path: Path) -> None:
    found = read(tmp_path, f'id,question\n1,"{"x" * (MAX_ROW + 1)}"\n2,How?\n')

    assert found.questions == [(3, "How?")]
    assert found.faults == [(2, f"it has {MAX_ROW + 6} characters in a line, at most {MAX_ROW} are read")]


def test_a_large_metadata_cell_is_refused_as_in_every_query(tmp_path: Path) -> None:
    found = read(tmp_path, f"question,note\nHow?,{'x' * 300_000}\nWhy?,y\n")

    assert found.questions == [(3, "Why?")]
    assert "at most 262,144 are accepted" in found.faults[0][1]


def test_a_header_names_each_field_once_in_any_case(tmp_path: Path) -> None:
    (item,) = read(tmp_path, " ID ,Question,team,team,\n7,How?,a,b,c\n").items
    assert (item.id, item.metadata) == ("7", {"team": "a", "team (2)": "b", "column 5": "c"})

    with pytest.raises(ValueError, match="names the column 'question' twice"):
        read(tmp_path, "question,Question\na,b\n")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("1,What?\n2,How?\n", "its first row names no column 'question' but 1, What"),
        ("frage;antwort\nWie?;so\n", "its first row names no column 'question'"),
        ("", "it is empty"),
        ("\n\n", "it is empty"),
        ('"question\n1\n', "its first row cannot be read"),
    ],
)
def test_a_file_without_a_header_is_refused_with_what_its_first_row_says(
    tmp_path: Path, content: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        read(tmp_path, content)


def test_rows_may_be_short_or_end_in_empty_cells_but_not_have_more(tmp_path: Path) -> None:
    found = read(tmp_path, "\n\nid,question,expected\n1,short\n2,long,x,,,\n3,more,x,y\n,,\n4,last,z\n")

    assert found.questions == [(4, "short"), (5, "long"), (8, "last")]
    assert found.faults == [(6, "it has 4 values for 3 columns")]


def test_json_in_a_cell_is_as_strict_as_json_in_a_file(tmp_path: Path) -> None:
    rows = 'question,metadata\na,"{""x"": 1, ""x"": 2}"\nb,"{""x"": NaN}"\nc,"{""x"": 3.10}"\nd,[1]\n'

    found = read(tmp_path, rows)

    assert [item.metadata for item in found.items] == [{"x": 3.1}]
    assert found.faults == [
        (2, "metadata is not JSON: the key 'x' is given twice"),
        (3, "metadata is not JSON: NaN is no number in JSON"),
        (5, "metadata: it should be an object"),
    ]


def test_a_file_of_another_name_is_read_by_how_it_begins_and_that_is_told(tmp_path: Path) -> None:
    found = read(tmp_path, "Question\tID\nHow?\t7\n".encode("utf-16"), "export.txt")  # Excel's "Unicode text"

    assert found.questions == [(2, "How?")]
    assert found.notes == [
        "is read as CSV: its first line names a column of questions",
        "has a tab between its columns",
    ]


@pytest.mark.parametrize(
    "question",
    ["Où est « l’hôtel »—déjà?", "Größe in m³ à 20°C?", "¿Dónde está?¿Cuándo?", "Col·legi º ª 5½ “Ätsch”"],
)
def test_a_western_text_keeps_its_signs(tmp_path: Path, question: str) -> None:
    text = f"question\n{question}\nOù est la cafétéria déjà prévue à côté? Élève zélé, où ça, là-bas, à l'été?\n"

    assert read(tmp_path, text.encode("cp1252")).questions[0] == (2, question)


@pytest.mark.parametrize("content", ["question , expected \nHow? , so \n", "| question | expected |\n| How? | so |\n"])
def test_spaces_around_every_separator_of_the_first_row_belong_to_no_cell(tmp_path: Path, content: str) -> None:
    result = read(tmp_path, content)

    assert [(item.question, item.expected) for item in result.items] == [("How?", "so")]
    assert "has a space around each separator of its first row; spaces there are left out" in result.notes


def test_spaces_after_every_separator_of_the_first_row_belong_to_no_cell(tmp_path: Path) -> None:
    result = read(tmp_path, 'id, question, expected\n1, "a, b?", x\n2, c?, y\n')

    assert (result.questions, result.faults) == ([(2, "a, b?"), (3, "c?")], [])
    assert result.notes == ["has a space after each separator of its first row; spaces there are left out"]


@pytest.mark.parametrize("header", ["\u200bquestion", "ＱＵＥＳＴＩＯＮ", "question\u00a0\u200e"])
def test_a_header_that_was_copied_from_a_page_names_its_column(tmp_path: Path, header: str) -> None:
    assert read(tmp_path, f"id,{header}\n1,a?\n").questions == [(2, "a?")]


def test_nothing_as_databases_write_it_is_nothing(tmp_path: Path) -> None:
    result = read(tmp_path, "question\tsession_id\texpected\na?\t\\N\t\\N\n", "q.tsv")

    assert [(item.session_id, item.expected) for item in result.items] == [(None, None)]


def test_the_end_of_a_copy_is_no_question_and_what_its_backslashes_mean_is_left_to_the_reader(tmp_path: Path) -> None:
    result = read(tmp_path, "question\tid\nwhat?\\nnow?\t1\nC:\\temp?\t2\n\\.\n", "q.tsv")

    assert (result.questions, result.faults) == ([(2, "what?\\nnow?"), (3, "C:\\temp?")], [])
    assert result.notes == [
        "has backslashes from line 2 on; \\t and \\n there stay as they are written",
        "has PostgreSQL's end of a copy in line 4; it is no question",
    ]


def test_a_first_row_that_comes_again_where_files_were_joined_is_not_asked(tmp_path: Path) -> None:
    result = read(tmp_path, "id,question\n1,a?\n\ufeffid,question\n2,b?\n")

    assert result.questions == [(2, "a?"), (4, "b?")]
    assert result.faults == [(3, "it repeats the first row")]


def test_a_file_named_for_tabs_that_has_another_separator_is_read_with_a_word(tmp_path: Path) -> None:
    result = read(tmp_path, "id;question\n1;a?\n", "q.tsv")

    assert (result.questions, result.notes) == ([(2, "a?")], ["has a semicolon between its columns"])


def test_the_line_of_dashes_of_a_markdown_table_is_no_question(tmp_path: Path) -> None:
    found = read(tmp_path, "| question | id |\n| --- | :-: |\n| Why? | 1 |\n| --- why? | 2 |\n", name="q.md")

    assert [(number, question.strip()) for number, question in found.questions] == [(3, "Why?"), (4, "--- why?")]
    assert "has a line of dashes in line 2, as tables in Markdown have; it is no question" in found.notes


@pytest.mark.parametrize("error", ["#N/A", "#NAME?", "#BEZUG!", "#¡VALOR!", "#Н/Д", "Err:504"])
def test_an_error_of_a_formula_is_named_as_in_a_workbook(tmp_path: Path, error: str) -> None:
    result = read(tmp_path, f"question,note\n{error},a\nHow?,{error}\n")

    assert result.faults == [(2, f"question: {error} is an error of a formula, and no text")]
    assert [(item.question, item.metadata) for item in result.items] == [("How?", {"note": error})]


@pytest.mark.parametrize("rounded", ["1.23E+18", "1,23E+18", "4e+15"])
def test_that_excel_has_rounded_an_id_is_said(tmp_path: Path, rounded: str) -> None:
    result = read(tmp_path, f'question,id\nHow?,7\nWhy?,"{rounded}"\nSo?,"{rounded}"\n')

    assert result.notes == [f"has {rounded} for an id in line 3: Excel has rounded it, and others to the same"]
    assert len(result.items) == 3


def test_lines_above_the_names_of_the_columns_are_left_out_as_in_a_workbook(tmp_path: Path) -> None:
    result = read(tmp_path, 'Export of "May"\n2026-05-01\n\nid;question\n7;How?\n')

    assert (result.questions, result.faults) == ([(5, "How?")], [])
    assert result.notes == [
        "has the names of its columns below 3 other lines, which are not read",
        "has a semicolon between its columns",
    ]


def test_a_faulty_row_is_shown_with_the_separator_of_its_file(tmp_path: Path) -> None:
    found = read(tmp_path, "question;id\nWhy; so?;1;2\nHow?;2\n")

    assert [problem.text for problem in found.problems] == ["Why; so?;1;2"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("q.txt", " id | question\n----+----------\n  1 | Why | when?\n(1 row)\n".replace("Why |", "Why,")),
        (
            "q.txt",
            "+----+------+\n| id | question |\n+----+---+\n|  1 | Why, when? |\n+---+---+\n1 row in set (0.00 sec)\n",
        ),
        ("q.md", "# Questions\n\n| id | question |\n|---|---|\n| 1 | Why, when? |\n"),
    ],
)
def test_a_table_that_is_drawn_with_bars_is_read(tmp_path: Path, name: str, content: str) -> None:
    found = read(tmp_path, content, name)

    assert ([each.question for each in found.items], found.faults) == (["Why, when?"], [])


def test_a_bar_that_markdown_escapes_separates_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, "| id | question |\n|---|---|\n| 1 | a \\| b? |\n", "q.md").questions == [(3, "a | b?")]


def test_what_surveys_write_below_the_names_of_columns_is_no_question(tmp_path: Path) -> None:
    meaning = 'End,What is it?\n"{""ImportId"":""endDate""}","{""ImportId"":""QID1""}"\n'

    assert read(tmp_path, f"end,question\n{meaning}1,How?\n2,Why?\n").questions == [(4, "How?"), (5, "Why?")]
    assert read(tmp_path, "end,question\n,Open-Ended Response\n1,How?\n").questions == [(3, "How?")]
    assert read(tmp_path, "end,question\n1,How?\n").questions == [(2, "How?")]
    # Where that is an answer, no row before it is lost.
    assert len(read(tmp_path, "end,question\n1,How?\nOpen-Ended Response,Why?\n").items) == 2


def test_a_first_row_whose_columns_cannot_be_told_apart_says_what_to_do(tmp_path: Path) -> None:
    for first, advice in (
        ("id^question", r"if '\^' separates its columns, write `sep=` with it"),
        ("id，question", "if '，' separates its columns, write `sep=` with it"),
        ("'id','question'", 'put " in the place of the quotes'),
    ):
        with pytest.raises(ValueError, match=advice):
            read(tmp_path, f"{first}\n")
