"""OpenDocument workbooks (.ods): read as those of Excel are, in memory that does not grow with them."""

from __future__ import annotations

import tracemalloc
import zipfile
from pathlib import Path

import pytest
from replay.reading import Found, found

from producer.replay.files import read_file

KIND = "application/vnd.oasis.opendocument.spreadsheet"
END = "</office:spreadsheet></office:body></office:document-content>"
NAMES = " ".join(
    f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "table", "text", "style")
)


def cell(text: str, **attributes: str) -> str:
    given = "".join(f' {name.replace("_", ":", 1).replace("_", "-")}="{value}"' for name, value in attributes.items())
    return f"<table:table-cell{given}><text:p>{text}</text:p></table:table-cell>"


def row(*cells: str, times: int = 1) -> str:
    repeated = f' table:number-rows-repeated="{times}"' if times > 1 else ""
    inside = "".join(each if each.startswith("<") else cell(each) for each in cells)
    return f"<table:table-row{repeated}>{inside}</table:table-row>"


def sheet(*rows: str, name: str = "One", style: str = "shown") -> str:
    return f'<table:table table:name="{name}" table:style-name="{style}">{"".join(rows)}</table:table>'


def write(tmp_path: Path, *sheets: str, kind: str = KIND, manifest: str = "", end: str = END) -> Path:
    hidden = '<style:style style:name="hidden"><style:table-properties table:display="false"/></style:style>'
    with zipfile.ZipFile(tmp_path / "q.ods", "w", zipfile.ZIP_DEFLATED) as parts:
        parts.writestr("mimetype", kind)
        parts.writestr("META-INF/manifest.xml", f"<manifest>{manifest}</manifest>")
        parts.writestr(
            "content.xml",
            f"<office:document-content {NAMES}><office:automatic-styles>{hidden}</office:automatic-styles><office:body>"
            f"<office:spreadsheet>{''.join(sheets)}{end}",
        )
    return tmp_path / "q.ods"


def read(tmp_path: Path, *sheets: str) -> Found:
    return found(read_file(write(tmp_path, *sheets)))


def test_the_rows_under_a_header_are_questions_with_their_numbers(tmp_path: Path) -> None:
    result = read(
        tmp_path, sheet(row("My export"), row("id", "question"), row("7", "How?"), row("", times=3), row("8", "Why?"))
    )

    assert [(item.number, item.id, item.question) for item in result.items] == [(3, "7", "How?"), (7, "8", "Why?")]
    assert (result.notes, result.faults) == (["is a workbook; read is the sheet 'One'"], [])


def test_cells_are_what_those_of_excel_are(tmp_path: Path) -> None:
    cells = (
        cell("1,23E+18", office_value_type="float", office_value="1230000000000000001"),
        cell(
            "Wie<text:s text:c='2'/>viel<text:tab/>kostet <text:span>das</text:span>?<text:line-break/>Nun?</text:p>"
            "<text:p>Ja?"
        ),
        cell("01.03.24", office_value_type="date", office_date_value="2024-03-01T00:00:00"),
        cell("WAHR", office_value_type="boolean", office_boolean_value="true"),
        "<table:table-cell><office:annotation><text:p>a comment</text:p></office:annotation></table:table-cell>",
        cell("x", table_number_columns_repeated="2"),
    )

    (item,) = read(tmp_path, sheet(row("id", "question", "day", "truth", "empty", "a", "b"), row(*cells))).items

    assert (item.id, item.question) == ("1230000000000000001", "Wie  viel\tkostet das?\nNun?\nJa?")
    assert item.metadata == {"day": "2024-03-01", "truth": "TRUE", "a": "x", "b": "x"}


def test_a_row_that_stands_for_several_is_each_of_them(tmp_path: Path) -> None:
    assert read(tmp_path, sheet(row("question"), row("How?", times=3))).questions == [
        (2, "How?"),
        (3, "How?"),
        (4, "How?"),
    ]


def test_a_sheet_that_is_shown_is_preferred_and_others_with_questions_are_named(tmp_path: Path) -> None:
    old, new = (
        sheet(row("question"), row(name), name=name, style=style) for name, style in (("Old", "hidden"), ("New", "x"))
    )

    result = read(tmp_path, old, new)

    assert result.questions == [(2, "New")]
    assert result.notes == [
        "is a workbook; read is the sheet 'New'; its 1 other sheet is not read, though questions are in 'Old'"
    ]


def test_an_error_of_a_formula_is_named(tmp_path: Path) -> None:
    assert read(tmp_path, sheet(row("question"), row("#N/A"), row("How?"))).faults == [
        (2, "question: #N/A is an error of a formula, and no text")
    ]


def test_the_rows_before_a_place_where_it_is_damaged_are_asked(tmp_path: Path) -> None:
    path = write(tmp_path, sheet(row("question"), row("One?")).removesuffix("</table:table>"), end="<table:table-row")

    result = found(read_file(path))

    assert result.questions == [(2, "One?")]
    assert [(number, reason.partition(":")[0]) for number, reason in result.faults] == [
        (3, "the sheet is damaged here, and nothing after it is read")
    ]


@pytest.mark.parametrize(
    ("kind", "manifest", "reason"),
    [
        ("application/vnd.oasis.opendocument.text", "", "it is an OpenDocument file, but no spreadsheet"),
        (KIND, "<encryption-data/>", "it has a password: save it without one"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, kind: str, manifest: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        found(read_file(write(tmp_path, kind=kind, manifest=manifest)))


def test_a_document_that_grows_when_it_is_read_is_refused(tmp_path: Path) -> None:
    entities = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10 if n else "aaaaaaaaaa"}">' for n in range(10))
    path = write(tmp_path, sheet(row("question"), row("How?")))
    with zipfile.ZipFile(path) as parts:
        content = parts.read("content.xml").decode()
    with zipfile.ZipFile(path, "w") as parts:
        parts.writestr("mimetype", KIND)
        parts.writestr("content.xml", f"<!DOCTYPE x [{entities}]>{content.replace('How?', '&a9;')}")

    assert [reason.partition(":")[0] for _, reason in found(read_file(path)).faults] == [
        "the sheet is damaged here, and nothing after it is read"
    ]


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    path = write(tmp_path, sheet(row("question"), *(row(f"How {n}?") for n in range(20_000)), row("", times=1_000_000)))

    tracemalloc.start()
    count = sum(1 for _ in read_file(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert count == 20_001
    assert peak < 4_000_000
