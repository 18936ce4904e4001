"""Read questions from CSV with any usual separator, also where quotes are missing. Each faulty row is reported."""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator
from itertools import islice, repeat
from typing import NamedTuple, TextIO

from producer.replay.reads import Note, Problem, Read
from producer.replay.sheets import HEADER_WITHIN
from producer.replay.table import Table, is_header

#: Longest row and longest line, in characters.
MAX_ROW = 16 * 2**20
_SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
#: Separator where the file has one column only.
_NONE = "\x1f"
#: The line by which Excel names the separator.
_SEP = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
#: Characters of a line above the names of the columns.
_LONGEST_ABOVE = 10_000
#: What stands above a table with bars: nothing, a heading of Markdown, a rule.
_ABOVE_BARS = re.compile(r"\s*|#+ .*|[-+=]{3,}")
#: Number of rows over several lines that are reported.
_NOTED = 3


class _Row(NamedTuple):
    """One row: the lines that it stands in, and its cells or what is wrong with it."""

    line: int
    lines: list[str]
    cells: list[str]
    fault: str = ""


def read_csv(file: TextIO, *, tabs: bool = False, column: str = "") -> Iterator[Read]:
    """Yield what each row holds. Columns have the names of the fields; any other column goes to ``metadata``.

    ``file`` keeps its line ends. ``tabs``: the file's name says that tabs separate its columns. ``column``: that of the
    questions, where it is not `question`. Raises ValueError where the header is none.
    """
    csv.field_size_limit(MAX_ROW)
    lines = _Lines(file)
    first = lines.first()
    said = _SEP.fullmatch(first)
    if said is None:
        lines.back([first])
        if above := _above_header(lines, column):
            yield Note(text=f"has the names of its columns below {above} other lines, which are not read")
            first = lines.first()
            lines.back([first])
    separator = said[1] if said else _separator(first, column, tabs=tabs)
    between = first.strip().strip(separator)
    spaced = 0 < between.count(separator) == between.count(f"{separator} ")
    # So does a space before each: a table that was written to be looked at.
    framed = spaced and between.count(separator) == between.count(f" {separator}")
    framed = framed or (separator == "|" and between.startswith(" ") and separator not in between)
    reader = csv.reader(lines, strict=True, delimiter=separator, skipinitialspace=spaced)
    head = _next(lines, reader)
    if head is None or head.fault:
        raise ValueError(f"its first row cannot be read: {head.fault}" if head else "it is empty")
    table = Table(head.cells, separator, column=column)
    if said is None and separator != ("\t" if tabs else ","):
        one = "has one column, and nothing separates columns"
        yield Note(text=one if separator == _NONE else f"has {_SEPARATORS[separator]} between its columns")
    if spaced:
        where = "around" if framed else "after"
        yield Note(text=f"has a space {where} each separator of its first row; spaces there are left out")
    yield from table.notes()
    noted, escapes_unsaid = 0, True
    while (row := _next(lines, reader)) is not None:
        columns = len(table.names)
        if framed and separator == "|" and len(row.lines) == 1 and "\\|" in row.lines[0]:
            # So Markdown writes a bar that separates nothing.
            cells = _split(row.lines[0].rstrip("\r\n").replace("\\|", _NONE), "|")
            row = row._replace(cells=[each.replace(_NONE, "|") for each in cells], fault="")
        if row.fault and (cells := _escaped(row.lines[0], separator, columns)):
            if escapes_unsaid:
                escapes_unsaid = False
                yield Note(text=f'has quotes written as \\" from line {row.line} on; they are read as quotes')
            yield from table.read(row.line, cells)
            continue
        if row.fault:
            yield Problem(number=row.line, reason=row.fault, text=row.lines[0])
            continue
        alike = [line.count(separator) == columns - 1 for line in row.lines] if len(row.lines) > 1 else []
        swallowed = any(alike[1:])
        # Three columns or more in each line cannot be chance: each line is a row of its own.
        if swallowed and (len(row.cells) != columns or (columns > 2 and all(alike))):
            lines.back(row.lines[1:])
            yield Problem(number=row.line, reason=_OPEN, text=row.lines[0])
            continue
        if swallowed and noted < _NOTED:
            noted += 1
            last = row.line + len(row.lines) - 1
            yield Note(
                text=f"has a cell in quotes from line {row.line} to {last}, with what looks like rows of their own"
            )
        yield from table.read(row.line, [each.strip(" ") for each in row.cells] if framed else row.cells)
    yield from table.end()


_OPEN = 'a quote is not closed, or stands inside a cell in quotes, where it is written twice ("")'


def _next(lines: _Lines, reader: Iterator[list[str]]) -> _Row | None:
    """Return the next row. Of a faulty one, the lines after its first are left to be read as rows of their own."""
    lines.begin()
    fault = ""
    cells: list[str] = []
    try:
        cells = next(reader)
    except StopIteration:
        return None
    except csv.Error as refused:
        fault = f"{refused}" if "limit" in str(refused) else _OPEN
    row = _Row(lines.started, lines.taken, cells, fault)
    if lines.long:
        row = row._replace(fault=f"it has {lines.long} characters in a line, at most {MAX_ROW} are read")
    if row.fault:
        lines.back(row.lines[1:])
    return row


def _escaped(line: str, separator: str, columns: int) -> list[str]:
    """Return the cells of a row whose quotes have backslashes, as Spark and MySQL write them; none where it is none."""
    if '\\"' not in line:
        return []
    try:
        cells = next(csv.reader([line], delimiter=separator, escapechar="\\", doublequote=False, strict=True), [])
    except csv.Error:
        return []
    return cells if len(cells) == columns else []


def _above_header(lines: _Lines, column: str) -> int:
    """Go to the row that names several columns. Return the number of lines above it; 0 where the first is it, or none.

    Programs write there what they export, and when.
    """
    found: list[str] = []
    for line in islice(lines, HEADER_WITHIN):
        if any(len(names) > 1 and is_header(names, column) for names in map(_split, repeat(line), _SEPARATORS)):
            lines.back([line])
            return len(found)
        found.append(line)
        if len(line) > _LONGEST_ABOVE:
            break
    lines.back(found)
    return 0


def begins_as_csv(text: str, column: str = "") -> bool:
    """Whether the first line of a text names columns of questions, more than one or with no quotes around it.

    Of a table that is drawn with bars, headings and rules may stand above that line, if nothing else is in the text.
    """
    lines = text.splitlines()
    names = max((_split(lines[0], each) for each in _SEPARATORS), key=len) if lines else []
    is_json = text.startswith(('{"', '["'))
    if not is_json and is_header(names, column) and (len(names) > 1 or not text.startswith('"')):
        return True
    # The last of these lines may be cut off, or tell the number of rows.
    rows = [line for line in lines[:HEADER_WITHIN] if not _ABOVE_BARS.fullmatch(line)]
    drawn = len(rows) > 1 and all("|" in line for line in rows[:-1])
    return drawn and is_header(_split(rows[0], "|"), column)


def _separator(header: str, column: str, *, tabs: bool) -> str:
    """Return what separates the columns: that by which the first row names a question, and most columns."""
    found = [(len(names), each) for each in _SEPARATORS if is_header(names := _split(header, each), column)]
    if not found or (tabs and is_header(_split(header, "\t"), column)):
        return "\t" if tabs else ","
    columns, separator = max(found, key=lambda each: each[0])
    return separator if columns > 1 else _NONE


def _split(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator), [])


class _Lines(Iterator[str]):
    """The lines of a file, none longer than is read. Remembers those of the row that is being read; takes them back."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._back: deque[str] = deque()
        self._number = 0
        self.started = 1
        self.taken: list[str] = []
        #: Characters of a line that is too long, in the row that is being read.
        self.long = 0

    def begin(self) -> None:
        """Begin a row."""
        self.started, self.taken, self.long = self._number + 1, [], 0

    def back(self, lines: list[str]) -> None:
        """Let lines be read once more."""
        self._back.extendleft(reversed(lines))
        self._number -= len(lines)

    def first(self) -> str:
        """Return the first line that is not empty. Raises ValueError where there is none."""
        for line in self:
            if line.strip():
                return line
        raise ValueError("it is empty")

    def __next__(self) -> str:
        line = self._back.popleft() if self._back else self._file.readline(MAX_ROW + 1)
        if not line:
            raise StopIteration
        self._number += 1
        if len(line) > MAX_ROW:
            self.long, rest = len(line), line
            while rest and not rest.endswith(("\n", "\r")):
                rest = self._file.readline(MAX_ROW)
                self.long += len(rest)
            # What is kept of it has no open quote, so that its row ends here.
            line = line[:200].replace('"', "'")
        self.taken.append(line)
        return line
