"""The sheets of a workbook of Excel's (.xlsx), by openpyxl."""

from __future__ import annotations

import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date, datetime, time, timedelta
from functools import partial
from importlib import import_module
from itertools import count, islice
from typing import Any, BinaryIO, NamedTuple

from agentic_flywheel.errors import PackageMissing
from producer.replay.opening import OTHER_FILES
from producer.replay.sheets import HEADER_WITHIN, MAX_COLUMNS, MAX_ROWS, Merged, Rows, Sheet

_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
_FORMULA = re.compile(rb"<(?:\w+:)?f[ >/]")
_MERGED = re.compile(rb'<(?:\w+:)?mergeCell ref="([A-Z]{1,3})(\d{1,7}):[A-Z]{1,3}(\d{1,7})"')


class _Looks(NamedTuple):
    """What a sheet has: formulas; and by the row that they begin in, column and last row of cells merged over rows."""

    formulas: bool
    merged: dict[int, list[tuple[int, int]]]


@contextmanager
def excel_sheets(file: BinaryIO) -> Iterator[list[Sheet]]:
    """Give the sheets of a workbook. Raises ValueError, PackageMissing."""
    try:
        openpyxl = import_module("openpyxl")
    except ImportError:
        raise PackageMissing("openpyxl", "xlsx", "A workbook (.xlsx)", OTHER_FILES) from None
    # What openpyxl leaves out, such as pictures and styles, concerns no question.
    warnings.filterwarnings("ignore", module=r"openpyxl\.")
    book = _loaded(openpyxl, file, values=True)
    try:
        looks = {each.title: _looked_at(file, each) for each in book.worksheets}
        some = any(each.formulas for each in looks.values())
        written = _loaded(openpyxl, file, values=False) if some else None
        yield [
            Sheet(
                each.title,
                each.sheet_state == "visible",
                list(islice(_rows(each, looks[each.title].merged), HEADER_WITHIN)),
                partial(_rows, each, looks[each.title].merged),
                bool(looks[each.title].merged),
                partial(_rows, written[each.title], {}) if written else None,
            )
            for each in book.worksheets
        ]
    finally:
        book.close()


def _loaded(openpyxl: Any, file: BinaryIO, *, values: bool) -> Any:
    file.seek(0)
    try:
        return openpyxl.load_workbook(file, read_only=True, data_only=values)
    except Exception as refused:  # openpyxl raises whatever it stumbles over
        raise ValueError(f"it cannot be read as a workbook: {refused}") from None


def _looked_at(file: BinaryIO, sheet: Any) -> _Looks:
    """Return what openpyxl does not tell of a sheet that it streams."""
    merged: dict[int, list[tuple[int, int]]] = {}
    formulas = False
    number = import_module("openpyxl.utils").column_index_from_string
    # openpyxl tells the part that a sheet is in nowhere else.
    part = sheet._worksheet_path
    with zipfile.ZipFile(file) as parts, suppress(zipfile.BadZipFile, zlib.error), parts.open(part) as content:
        tail = b""
        while piece := content.read(1 << 20):
            piece = tail + piece
            formulas = formulas or bool(_FORMULA.search(piece))
            done = 0
            for found in _MERGED.finditer(piece):
                column, first, last = number(found[1].decode()) - 1, int(found[2]), int(found[3])
                done = found.end()
                if last > first:
                    merged.setdefault(first, []).append((column, last))
            tail = piece[max(done, len(piece) - 100) :]
    return _Looks(formulas, merged)


def _rows(sheet: Any, merged: Mapping[int, Sequence[tuple[int, int]]]) -> Rows:
    filling = Merged()
    # Dimensions that a writer got wrong would cut rows off.
    sheet.reset_dimensions()
    rows = sheet.iter_rows(values_only=True, max_row=MAX_ROWS)
    for number in count(1):
        try:
            row = next(rows, None)
        except Exception as refused:  # openpyxl raises whatever it stumbles over
            yield number, f"it cannot be read: {refused}"
            return
        if row is None:
            return
        end = min(len(row), MAX_COLUMNS)
        while end and row[end - 1] is None:
            end -= 1
        cells = tuple(map(_text, row[:end]))
        yield number, filling.filled(number, cells, merged.get(number, ())) if merged else cells


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
    if isinstance(value, timedelta):
        seconds = round(value.total_seconds())
        return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    if isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat()
    return (
        value.isoformat(sep=" ")
        if isinstance(value, datetime)
        else value.isoformat()
        if isinstance(value, date | time)
        else str(value)
    )
