"""Read rows under a header, from a CSV file or a worksheet, as items."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from producer.replay.json_values import parse
from producer.replay.langfuse_rows import LANGFUSE, Order, is_langfuse_row, of_langfuse
from producer.replay.opening import NO_TEXT, UNDECODABLE
from producer.replay.reads import FIELDS, NAMELESS, NESTED, Note, Problem, Read, item_of
from producer.replay.sums import Sums

#: Cells that give nothing: empty ones, and what PostgreSQL and MySQL write in place of nothing.
_NOTHING = frozenset({"", "\\N"})
#: The row with which PostgreSQL's COPY ends, and how COPY and `mysql --batch` write tabs and line ends in a cell.
_COPY_END = "\\."
_ESCAPE = re.compile(r"\\[tnr\\]")
#: Values of formulas that have none, in the languages of Excel, and LibreOffice's.
_ERRORS = frozenset(
    (
        *("#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!", "#SPILL!", "#CALC!", "#ERROR!"),
        *("#NV", "#ZAHL!", "#BEZUG!", "#WERT!", "#ÜBERLAUF!", "#NOM?", "#NOMBRE!", "#VALEUR!", "#NUL!"),
        *("#¡DIV/0!", "#¿NOMBRE?", "#¡NULO!", "#¡NUM!", "#¡REF!", "#¡VALOR!", "#NOME?", "#NULO!", "#VALOR!"),
        *("#N/D", "#NOME?", "#RIF!", "#VALORE!", "#NULLO!", "#ADR!", "#ARG!", "#LICZBA!", "#NAZWA?", "#ZERO!"),
        *("#ДЕЛ/0!", "#Н/Д", "#ИМЯ?", "#ПУСТО!", "#ЧИСЛО!", "#ССЫЛКА!", "#ЗНАЧ!", "#NAAM?", "#VERW!", "#WAARDE!"),
        *("#YOK", "#AD?", "#SAYI!", "#BAŞV!", "#DEĞER!", "#NÁZEV?", "#ODKAZ!", "#HODNOTA!", "#HIÁNYZIK", "#NÉV?"),
        *("Err:502", "Err:504", "Err:508", "Err:509", "Err:511", "Err:522"),
    )
)
#: What exports write so that Excel takes a cell as text.
_FORCED = re.compile(r'="((?:[^"]|"")*)"')
#: What Excel makes of a long number.
_ROUNDED = re.compile(r"\d[.,]?\d*E\+\d+", re.IGNORECASE)
#: Characters of a column's name; a longer cell is none.
_LONGEST_NAME = 40
_RULE = re.compile(":?-+:?")
_UNSEEN = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")


def is_header(names: Iterable[str], column: str = "") -> bool:
    """Whether a row names columns of questions; ``column`` is the one that a person named."""
    found = _names(names, column)
    return "question" in found or (not column and is_langfuse_row(dict.fromkeys(found)))


class Table:
    """The columns of one file. A column with the name of a field is that field, any other is kept as ``metadata``."""

    def __init__(self, header: Sequence[str], separator: str = ",", *, column: str = "") -> None:
        """``separator``: put between cells where a row is shown. ``column``: the one of the questions.

        Raises ValueError where no column is that, or one of a field's is named twice.
        """
        names = _names(header, column)
        if not is_header(header, column):
            told = ", ".join(each for each in names if each)[:200] or "nothing"
            lines = "; where each line is a question, name the file .txt" if len(names) == 1 else ""
            raise ValueError(f"its first row names no column {column or 'question'!r} but {told}; {NAMELESS}{lines}")
        if column and names.count("question") > 1:
            raise ValueError(f"its first row has the columns {column!r} and 'question'; rename the latter")
        twice = [name for name, count in Counter(names).items() if count > 1 and name in FIELDS]
        if twice:
            raise ValueError(f"its first row names the column {twice[0]!r} twice")
        self._header, self._separator, self._column = names, separator, column
        self._first = _name(header[0])
        self._at = names.index("question") if "question" in names else 0
        self._order = None if "question" in names else Order()
        self._escapes_unsaid = separator == "\t"
        self._sums = Sums(self._at)
        self._rounded_told = False
        self._forced_unsaid = True
        self.names = list(_each_once(names))

    def notes(self) -> Iterator[Note]:
        """Yield what is worth a word about the columns."""
        if self._order is not None:
            yield Note(text=LANGFUSE)

    def end(self) -> Iterator[Note]:
        """Yield what is worth a word once all rows were read."""
        yield from self._sums.notes()

    def read(self, number: int, row: Sequence[str], written: Sequence[str] = ()) -> Iterator[Read]:
        """Yield what a row gives: nothing where it is empty. ``written``: its formulas, where these are known."""
        if not any(value.strip() for value in row):
            return
        if self._escapes_unsaid and any(map(_ESCAPE.search, row)):
            self._escapes_unsaid = False
            yield Note(text=f"has backslashes from line {number} on; \\t and \\n there stay as they are written")
        if any(map(_FORCED.fullmatch, row)):
            row = [_forced(value) for value in row]
            if self._forced_unsaid:
                self._forced_unsaid = False
                yield Note(text=f'has cells written as ="text" from line {number} on; the text is read')
        if row[0] == _COPY_END and not any(row[1:]):
            yield Note(text=f"has PostgreSQL's end of a copy in line {number}; it is no question")
        elif _name(row[0]) == self._first and _names(row, self._column) == self._header:
            # Files were joined, each with a first row of its own.
            yield Problem(number=number, reason="it repeats the first row", text=self._separator.join(row))
        elif self._is_named_again(row):
            # A cell of the first row is merged with the one below, where further names stand.
            yield Problem(number=number, reason="it names its column again", text=self._separator.join(row))
        elif all(map(_RULE.fullmatch, filter(None, map(str.strip, row)))):
            yield Note(text=f"has a line of dashes in line {number}, as tables in Markdown have; it is no question")
        else:
            if not self._rounded_told and (told := next(filter(_ROUNDED.fullmatch, self._ids(row)), "")):
                self._rounded_told = True
                yield Note(text=f"has {told} for an id in line {number}: Excel has rounded it, and others to the same")
            if self._order is not None and (note := self._order.note(dict(zip(self.names, row, strict=False)))):
                yield note
            self._sums.look(number, row, written)
            yield self._of(number, row)

    def _is_named_again(self, row: Sequence[str]) -> bool:
        cell = row[self._at] if len(row) > self._at and self._header[self._at] == "question" else ""
        return 0 < len(cell) < _LONGEST_NAME and _names([cell], self._column) == ["question"]

    def _ids(self, row: Sequence[str]) -> Iterator[str]:
        return (value for name, value in zip(self.names, row, strict=False) if name in ("id", "session_id"))

    def _of(self, number: int, row: Sequence[str]) -> Read:
        text = self._separator.join(row)
        if len(row) > len(self.names) and any(row[len(self.names) :]):
            return Problem(number=number, reason=f"it has {len(row)} values for {len(self.names)} columns", text=text)
        if any(UNDECODABLE in value for value in row):
            return Problem(number=number, reason=NO_TEXT, text=text)
        cells = {name: value for name, value in zip(self.names, row, strict=False) if value not in _NOTHING}
        for name in FIELDS & cells.keys():
            if cells[name] in _ERRORS:
                return Problem(
                    number=number, reason=f"{name}: {cells[name]} is an error of a formula, and no text", text=text
                )
        fields = of_langfuse(cells) if self._order is not None else _of_own(cells)
        if isinstance(fields, str):
            return Problem(number=number, reason=fields, text=text)
        return item_of(number, fields, text=text)


def _of_own(cells: dict[str, str]) -> dict[str, Any] | str:
    fields: dict[str, Any] = {}
    more: dict[str, Any] = {}
    for name, value in cells.items():
        if name in NESTED:
            try:
                fields[name] = parse(value)
            except ValueError as refused:
                return f"{name} is not JSON: {refused}"
        elif name in FIELDS:
            fields[name] = value
        else:
            more[name] = value
    given = fields.get("metadata", {})
    if more and isinstance(given, dict):
        fields["metadata"] = {**more, **given}
    return fields


def _forced(value: str) -> str:
    found = _FORCED.fullmatch(value)
    return found[1].replace('""', '"') if found else value


def _name(name: str) -> str:
    """Return a column's name; one of a field's in whatever case it is written."""
    # Spaces and marks that nobody sees come with texts that were copied from a page.
    plain = _UNSEEN.sub("", unicodedata.normalize("NFKC", name)).strip()
    name = name.strip()
    return plain.lower() if plain.lower() in FIELDS else name


def _names(header: Iterable[str], column: str) -> list[str]:
    """Return the names of columns; the one that a person named is that of the questions."""
    names = list(map(_name, header))
    wanted = _name(column).casefold()
    return ["question" if each.casefold() == wanted else each for each in names] if column else names


def _each_once(names: Sequence[str]) -> Iterator[str]:
    """Yield the names, numbered where there is none, or where one comes again."""
    seen: Counter[str] = Counter()
    for place, name in enumerate(names, 1):
        name = name or f"column {place}"
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name} ({seen[name]})"
