"""Questions from a workbook: the rows of the sheet that has a column `question`."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from itertools import islice, repeat
from typing import BinaryIO

from producer.replay.excel_sheets import excel_sheets
from producer.replay.open_document_sheets import open_document_sheets
from producer.replay.reads import FIELDS, NAMELESS, Note, Problem, Read
from producer.replay.sheets import MAX_UNPACKED, Row, Sheet
from producer.replay.table import Table, is_header
from producer.replay.zips import OPEN_DOCUMENT

#: The part that every workbook of Excel's has.
_KINDS = "[Content_Types].xml"
_OLD = b"\xd0\xcf\x11\xe0"
_UNSAVED = "the value of its formula is not in the file; open the workbook in Excel and save it"
#: The stream that tells what a file of Microsoft's old container is.
_OLD_FILES = (
    ("EncryptedPackage", "it has a password: save it without one"),
    ("WordDocument", "it is a document of Word's: save the questions as .txt or .csv"),
    ("PowerPoint Document", "it is a presentation: save the questions as .txt or .csv"),
    ("__substg1.0_", "it is a message of Outlook's: save the questions as .txt or .csv"),
    ("", "it is a workbook of the old kind (.xls): save it as .xlsx"),
)


def read_sheet(file: BinaryIO, *, column: str = "") -> Iterator[Read]:
    """Yield what each row of the first fitting sheet holds. Raises ValueError, PackageMissing.

    ``column``: that of the questions, where it is not `question`.
    """
    if OPEN_DOCUMENT in _parts(file):
        yield from _of_book(open_document_sheets(file), column)
        return
    with excel_sheets(file) as sheets:
        yield from _of_book(sheets, column)


def _parts(file: BinaryIO) -> list[str]:
    """Return the names of a workbook's parts. Raises ValueError where it is none, or would fill the memory."""
    if file.read(len(_OLD)) == _OLD:
        content = file.read(MAX_UNPACKED)
        raise ValueError(next(what for mark, what in _OLD_FILES if mark.encode("utf-16-le") in content))
    try:
        with zipfile.ZipFile(file) as parts:
            names = parts.namelist()
            size = sum(each.file_size for each in parts.infolist())
    except zipfile.BadZipFile:
        raise ValueError("it is no workbook of the kind .xlsx, or it is cut off") from None
    if size > MAX_UNPACKED:
        raise ValueError(f"it comes to {size >> 20} MB unpacked, at most {MAX_UNPACKED >> 20} are read: save it as CSV")
    if not any(each in (OPEN_DOCUMENT, _KINDS) for each in names):
        raise ValueError("it is a zip archive and no workbook; where it is one within another, unpack the outer one")
    return names


def _of_book(sheets: list[Sheet], column: str) -> Iterator[Read]:
    """Yield what the first fitting sheet holds, those that are shown before hidden ones."""
    fitting = [
        (sheet, number, cells)
        for sheet in sorted(sheets, key=lambda each: not each.shown)
        for number, cells in _header(sheet, column)
    ]
    if not fitting:
        for sheet in sheets:
            if fault := next((row for _, row in sheet.head if isinstance(row, str)), ""):
                raise ValueError(f"its sheet {sheet.title!r} is damaged: {fault}")
        if not sheets:
            raise ValueError(
                "it has no sheet that can be read (a *Strict Open XML* workbook?): save it as a usual .xlsx"
            )
        told = ", ".join(each.title for each in sheets)[:200]
        raise ValueError(f"no sheet has a row with a column {column or 'question'!r}: {told}; {NAMELESS}")
    (sheet, number, cells), *more = fitting
    yield Note(
        text=f"is a workbook; read is the sheet {sheet.title!r}{_others(sheet, sheets, [each for each, *_ in more])}"
    )
    if sheet.merged:
        yield Note(text="has cells merged over several rows; their value is read in each of these")
    beside = islice(sheet.formulas(), number, None) if sheet.formulas else repeat((0, ()))
    rows = (each for each in sheet.rows() if each[0] > number)
    yield from _of_rows(Table(cells, column=column), rows, beside)


def _header(sheet: Sheet, column: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield the row that names the columns of a sheet, if one does."""
    for number, row in sheet.head:
        if not isinstance(row, str) and is_header(row, column):
            yield number, row
            return


def _others(sheet: Sheet, sheets: list[Sheet], more: list[Sheet]) -> str:
    """Return what is to be said of the sheet and of those that are not read."""
    others = len(sheets) - 1
    hidden = "" if sheet.shown else ", which is hidden"
    if not others:
        return hidden
    rest = f"{hidden}; its {others} other sheet{'s are' if others > 1 else ' is'} not read"
    return f"{rest}, though questions are in {', '.join(repr(each.title) for each in more)[:200]}" if more else rest


def _of_rows(table: Table, rows: Iterator[tuple[int, Row]], formulas: Iterator[tuple[int, Row]]) -> Iterator[Read]:
    yield from table.notes()
    told: set[str] = set()
    for (number, row), (_, written) in zip(rows, formulas, strict=False):
        if isinstance(row, str):
            yield from table.end()
            yield Problem(number=number, reason=f"the sheet is damaged here, and nothing after it is read: {row}")
            return
        missing = _without_value(table.names, row, written)
        if "question" in missing:
            reason = f"question: {_UNSAVED}"
            yield Problem(number=number, reason=reason, text=",".join(row))
            continue
        for name in missing:
            if name not in told:
                told.add(name)
                yield Note(text=f"has nothing for {name!r} in row {number}, and maybe in further ones: {_UNSAVED}")
        yield from table.read(number, row, () if isinstance(written, str) else written)
    yield from table.end()


def _without_value(names: list[str], cells: tuple[str, ...], written: Row) -> list[str]:
    """Return the fields that a row gives by formulas whose values are not known."""
    # A formula may give an empty text, in rows that are prepared and not filled in yet.
    if not any(cells):
        return []
    return [
        name
        for at, name in enumerate(names)
        if name in FIELDS and not any(cells[at : at + 1]) and any(written[at : at + 1])
    ]
