"""The sheets of an OpenDocument workbook (.ods), as LibreOffice and Google Sheets write it."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import BinaryIO, NamedTuple
from xml.etree import ElementTree

from producer.replay.sheets import HEADER_WITHIN, MAX_COLUMNS, MAX_ROWS, Merged, Row, Rows, Sheet

_KIND = b"application/vnd.oasis.opendocument.spreadsheet"
_MANIFEST = "META-INF/manifest.xml"
_NAMES = "urn:oasis:names:tc:opendocument:xmlns:"
_OFFICE, _TABLE, _TEXT, _STYLE = (f"{{{_NAMES}{name}:1.0}}" for name in ("office", "table", "text", "style"))
#: The attribute of a cell that holds its value, by its type. Others are read as they are shown.
_VALUES = {
    "float": f"{_OFFICE}value",
    "percentage": f"{_OFFICE}value",
    "currency": f"{_OFFICE}value",
    "date": f"{_OFFICE}date-value",
    "boolean": f"{_OFFICE}boolean-value",
}
_WHITE = {f"{_TEXT}tab": "\t", f"{_TEXT}line-break": "\n"}


class _Line(NamedTuple):
    """One row, with the sheet that it stands in; of a sheet's beginning no cells and the number 0."""

    sheet: int
    title: str
    shown: bool
    number: int
    row: Row
    #: Whether a cell that is merged over several rows begins in it.
    merged: bool = False


def open_document_sheets(file: BinaryIO) -> list[Sheet]:
    """Return the sheets of a workbook. Raises ValueError."""
    with zipfile.ZipFile(file) as parts:
        if not parts.read("mimetype").startswith(_KIND):
            raise ValueError("it is an OpenDocument file, but no spreadsheet: save the questions as .ods, .txt or .csv")
        if _MANIFEST in parts.namelist() and b"encryption-data" in parts.read(_MANIFEST):
            raise ValueError("it has a password: save it without one")
    sheets: list[Sheet] = []
    for line in _lines(file):
        if line.sheet == len(sheets):
            sheets.append(Sheet(line.title, line.shown, [], partial(_rows, file, line.sheet)))
        if line.merged and not sheets[-1].merged:
            sheets[-1] = replace(sheets[-1], merged=True)
        if 0 < line.number <= HEADER_WITHIN:
            sheets[line.sheet].head.append((line.number, line.row))
    return sheets


def _rows(file: BinaryIO, sheet: int) -> Rows:
    for line in _lines(file):
        if line.sheet > sheet:
            return
        if line.sheet == sheet and line.number:
            yield line.number, line.row


def _lines(file: BinaryIO) -> Iterator[_Line]:
    """Yield the rows of all sheets that are not empty. Of the document, only the row at hand is in memory."""
    here = _Line(-1, "", True, 0, ())
    hidden: set[str | None] = set()
    around: list[ElementTree.Element] = []
    filling = Merged()
    try:
        with zipfile.ZipFile(file) as parts, parts.open("content.xml") as content:
            for event, node in ElementTree.iterparse(content, events=("start", "end")):
                if event == "start":
                    around.append(node)
                    if node.tag == f"{_TABLE}table":
                        shown = node.get(f"{_TABLE}style-name") not in hidden
                        filling = Merged()
                        here = _Line(here.sheet + 1, node.get(f"{_TABLE}name", ""), shown, 0, ())
                        yield here
                    continue
                around.pop()
                if node.tag == f"{_STYLE}table-properties" and node.get(f"{_TABLE}display") == "false":
                    hidden.add(around[-1].get(f"{_STYLE}name"))
                elif node.tag == f"{_TABLE}table-row" and here.sheet >= 0:
                    row = _cells(node)
                    begins = _merged(node, here.number + 1) if row else []
                    times = int(node.get(f"{_TABLE}number-rows-repeated", "1"))
                    for number in range(here.number + 1, min(here.number + times, MAX_ROWS) + 1) if row else ():
                        yield here._replace(number=number, row=filling.filled(number, row, begins), merged=bool(begins))
                    here = here._replace(number=here.number + times)
                    around[-1].remove(node)
    except (ElementTree.ParseError, zipfile.BadZipFile, zlib.error, ValueError, RecursionError) as refused:
        yield here._replace(sheet=max(here.sheet, 0), number=here.number + 1, row=f"it cannot be read: {refused}")


def _cells(row: ElementTree.Element) -> tuple[str, ...]:
    cells: list[str] = []
    for cell in row:
        if cell.tag in (f"{_TABLE}table-cell", f"{_TABLE}covered-table-cell"):
            times = int(cell.get(f"{_TABLE}number-columns-repeated", "1"))
            cells += [_value(cell)] * min(times, MAX_COLUMNS - len(cells))
    while cells and not cells[-1]:
        cells.pop()
    return tuple(cells)


def _merged(row: ElementTree.Element, number: int) -> list[tuple[int, int]]:
    """Return column and last row of the cells of a row that are merged over several rows."""
    found: list[tuple[int, int]] = []
    at = 0
    for cell in row:
        rows = int(cell.get(f"{_TABLE}number-rows-spanned", "1"))
        if rows > 1:
            found.append((at, number + rows - 1))
        at += int(cell.get(f"{_TABLE}number-columns-repeated", "1"))
    return found


def _value(cell: ElementTree.Element) -> str:
    """Return a cell as cells of .xlsx are read: whole numbers without a point, dates as ISO 8601."""
    kind = cell.get(f"{_OFFICE}value-type", "")
    value = cell.get(_VALUES.get(kind, ""))
    # LibreOffice keeps a truth of Excel's as the number 1 or 0 that is shown as a word.
    if value is None or (kind == "float" and value in ("0", "1")):
        shown = "\n".join(map(_text, cell.findall(f"{_TEXT}p")))
        if value is None or shown.isalpha():
            return shown
    if kind == "date":
        return value.removesuffix("T00:00:00").replace("T", " ")
    return value.upper() if kind == "boolean" else value


def _text(node: ElementTree.Element) -> str:
    if node.tag == f"{_TEXT}s":
        return " " * min(int(node.get(f"{_TEXT}c", "1")), 1_000)
    # Comments, and what is written above characters to tell how they sound, are none of the text.
    if node.tag in (f"{_OFFICE}annotation", f"{_TEXT}ruby-text"):
        return ""
    inner = "".join(_text(each) + (each.tail or "") for each in node)
    return _WHITE.get(node.tag, "") + (node.text or "") + inner
