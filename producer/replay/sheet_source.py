"""Questions from a workbook of Excel's (.xlsx): the rows of the sheet that has a column `question`."""

from __future__ import annotations

import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, datetime, time
from importlib import import_module
from itertools import count, islice, repeat
from typing import Any, BinaryIO

from agentic_flywheel.errors import PackageMissing
from producer.replay.opening import OTHER_FILES
from producer.replay.reads import FIELDS, Note, Problem, Read
from producer.replay.table import Table, is_header

#: Bytes that a workbook may have when it is unpacked: its texts are held in memory together.
MAX_UNPACKED = 256 * 2**20
#: Rows in which a header is looked for, columns that are read, and rows that a worksheet can have.
_HEADER_WITHIN, _MAX_COLUMNS, _MAX_ROWS = 20, 1_000, 1_048_576
#: Values of formulas that have none.
_ERRORS = frozenset({"#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!", "#SPILL!", "#CALC!"})
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
_FORMULA = re.compile(rb"<(?:\w+:)?f[ >/]")
_OLD = b"\xd0\xcf\x11\xe0"


def read_sheet(file: BinaryIO) -> Iterator[Read]:
    """Yield what each row of the first fitting sheet holds. Raises ValueError, PackageMissing."""
    try:
        openpyxl = import_module("openpyxl")
    except ImportError:
        raise PackageMissing("openpyxl", "xlsx", "A workbook (.xlsx)", OTHER_FILES) from None
    _check(file)
    # What openpyxl leaves out, such as pictures and styles, concerns no question.
    warnings.filterwarnings("ignore", module=r"openpyxl\.")
    book = _loaded(openpyxl, file, values=True)
    try:
        yield from _of_book(book, _loaded(openpyxl, file, values=False) if _has_formulas(file) else None)
    finally:
        book.close()


def _loaded(openpyxl: Any, file: BinaryIO, *, values: bool) -> Any:
    file.seek(0)
    try:
        return openpyxl.load_workbook(file, read_only=True, data_only=values)
    except Exception as refused:  # openpyxl raises whatever it stumbles over
        raise ValueError(f"it cannot be read as a workbook: {refused}") from None


def _check(file: BinaryIO) -> None:
    """Refuse what is no workbook, and one that would fill the memory. Raises ValueError."""
    if file.read(4) == _OLD:
        raise ValueError("it is a workbook of the old kind (.xls), or has a password: save it as .xlsx without one")
    try:
        with zipfile.ZipFile(file) as parts:
            names = parts.namelist()
            size = sum(each.file_size for each in parts.infolist())
    except zipfile.BadZipFile:
        raise ValueError("it is no workbook of the kind .xlsx, or it is cut off") from None
    if size > MAX_UNPACKED:
        raise ValueError(f"it comes to {size >> 20} MB unpacked, at most {MAX_UNPACKED >> 20} are read: save it as CSV")
    if "[Content_Types].xml" not in names:
        open_document = "mimetype" in names and "content.xml" in names
        what = "an OpenDocument file: save it as .xlsx or CSV" if open_document else "a zip archive: unpack it"
        raise ValueError(f"it is no workbook of the kind .xlsx but {what}")
    file.seek(0)


def _has_formulas(file: BinaryIO) -> bool:
    with zipfile.ZipFile(file) as parts:
        for name in parts.namelist():
            if name.startswith("xl/worksheets/") and name.endswith(".xml"):
                with parts.open(name) as sheet, suppress(zipfile.BadZipFile, zlib.error):
                    tail = b""
                    while piece := sheet.read(1 << 20):
                        if _FORMULA.search(tail + piece):
                            return True
                        tail = piece[-40:]
    return False


def _of_book(book: Any, formulas: Any) -> Iterator[Read]:
    """Yield what the first fitting sheet holds, those that are shown before hidden ones."""
    told = []
    for sheet in sorted(book.worksheets, key=lambda each: each.sheet_state != "visible"):
        rows = _rows(sheet)
        for number, row in rows:
            if isinstance(row, str):
                raise ValueError(f"its sheet {sheet.title!r} is damaged: {row}")
            if is_header(_cells(row)):
                others = len(book.sheetnames) - 1
                rest = f"; its {others} other sheet{'s are' if others > 1 else ' is'} not read" if others else ""
                hidden = "" if sheet.sheet_state == "visible" else ", which is hidden"
                yield Note(text=f"is a workbook; read is the sheet {sheet.title!r}{hidden}{rest}")
                beside = islice(_rows(formulas[sheet.title]), number, None) if formulas else repeat((0, ()))
                yield from _of_rows(Table(_cells(row)), rows, beside)
                return
            if number >= _HEADER_WITHIN:
                break
        told.append(sheet.title)
    raise ValueError(f"no sheet has a row with a column 'question': {', '.join(told)[:200]}")


#: A row's cells without the empty ones at its end, or why it and what follows it cannot be read.
_Row = tuple[Any, ...] | str


def _rows(sheet: Any) -> Iterator[tuple[int, _Row]]:
    # Dimensions that a writer got wrong would cut rows off.
    sheet.reset_dimensions()
    rows = sheet.iter_rows(values_only=True, max_row=_MAX_ROWS)
    for number in count(1):
        try:
            row = next(rows, None)
        except Exception as refused:  # openpyxl raises whatever it stumbles over
            yield number, f"it cannot be read: {refused}"
            return
        if row is None:
            return
        end = min(len(row), _MAX_COLUMNS)
        while end and row[end - 1] is None:
            end -= 1
        yield number, row[:end]


def _of_rows(table: Table, rows: Iterator[tuple[int, _Row]], formulas: Iterator[tuple[int, _Row]]) -> Iterator[Read]:
    yield from table.notes()
    for (number, row), (_, written) in zip(rows, formulas, strict=False):
        if isinstance(row, str):
            yield Problem(number=number, reason=f"the sheet is damaged here, and nothing after it is read: {row}")
            return
        cells = _cells(row)
        if fault := _without_value(table.names, cells, written):
            yield Problem(number=number, reason=fault, text=",".join(cells))
        else:
            yield from table.read(number, cells)


def _without_value(names: list[str], cells: list[str], written: _Row) -> str:
    """Say which field is a formula whose value is not known; empty where none is."""
    for name, value in zip(names, cells, strict=False):
        if name in FIELDS and value in _ERRORS:
            return f"{name}: {value} is an error of a formula, and no text"
    at = names.index("question") if "question" in names else len(written)
    # A formula may give an empty text, in rows that are prepared and not filled in yet.
    if any(cells) and not any(cells[at : at + 1]) and any(written[at : at + 1]):
        return "question: the value of its formula is not in the file; open the workbook in Excel and save it"
    return ""


def _cells(row: Any) -> list[str]:
    return [_text(value) for value in row]


def _text(value: Any) -> str:
    """Return a cell as a person reads it there: whole numbers without a point, dates as ISO 8601."""
    if value is None:
        return ""
    if isinstance(value, str):
        # Characters that XML has no place for, such as a carriage return, are written as _x000D_.
        return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), value)
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat()
    return (
        value.isoformat(sep=" ")
        if isinstance(value, datetime)
        else value.isoformat()
        if isinstance(value, date | time)
        else str(value)
    )
