"""Read rows under a header, from a CSV file or a worksheet, as items."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from producer.replay.json_values import parse
from producer.replay.langfuse_rows import LANGFUSE, Order, is_langfuse_row, of_langfuse
from producer.replay.opening import NO_TEXT, UNDECODABLE
from producer.replay.reads import FIELDS, NAMELESS, NESTED, Note, Problem, Read, field_named, item_of
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
#: A cell of a rule, or a whole one, as Markdown, psql and mysql draw them; what the latter two write below a table.
_RULE = re.compile(r":?-+:?|[-+]{3,}")
COUNTED = re.compile(r"\(\d+ [^\W\d]+\)|\d+ rows? in set.*")
#: What survey programs write below the names of columns: Qualtrics what is asked, and then this in each column;
#: SurveyMonkey how it is answered.
_QUALTRICS, _SURVEYMONKEY = re.compile(r'\{"ImportId":.*'), "Open-Ended Response"


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
            raise ValueError(
                f"its first row names no column {column or 'question'!r} but {told}; {_what_to_do(header, column)}"
            )
        if column and names.count("question") > 1:
            raise ValueError(f"its first row has the columns {column!r} and 'question'; rename the latter")
        twice = [name for name, count in Counter(names).items() if count > 1 and name in FIELDS]
        if twice:
            raise ValueError(f"its first row names the column {twice[0]!r} twice")
        self._header, self._separator, self._column = names, separator, column
        self._first = field_named(header[0])
        self._at = names.index("question") if "question" in names else 0
        self._order = None if "question" in names else Order()
        self._escapes_unsaid = separator == "\t"
        self._sums = Sums(self._at)
        self._begun = False
        self._held: tuple[int, Sequence[str], Sequence[str]] | None = None
        self._rounded_told = self._rule_told = False
        self._forced_unsaid = True
        self.names = list(_each_once(names))

    def notes(self) -> Iterator[Note]:
        """Yield what is worth a word about the columns."""
        if self._order is not None:
            yield Note(text=LANGFUSE)

    def end(self) -> Iterator[Read]:
        """Yield what waits for a further row, and what is worth a word once all rows were read."""
        yield from self._let_go()
        yield from self._sums.notes()

    def read(self, number: int, row: Sequence[str], written: Sequence[str] = ()) -> Iterator[Read]:
        """Yield what a row gives: nothing where it is empty. ``written``: its formulas, where these are known.

        The first row waits for the second, which may tell that both belong to the names of a survey's columns.
        """
        if not any(value.strip() for value in row):
            return
        if self._begun and self._held is None:
            yield from self._read(number, row, written)
        elif any(map(_QUALTRICS.fullmatch, row)) or (not self._begun and _SURVEYMONKEY in row):
            self._begun, self._held = True, None
            yield Note(text=f"has what its columns mean above line {number + 1}, as surveys do; it is no question")
        elif self._begun:
            yield from self._let_go()
            yield from self._read(number, row, written)
        else:
            self._begun, self._held = True, (number, row, written)

    def _let_go(self) -> Iterator[Read]:
        if self._held is not None:
            held, self._held = self._held, None
            yield from self._read(*held)

    def _read(self, number: int, row: Sequence[str], written: Sequence[str]) -> Iterator[Read]:
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
        elif field_named(row[0]) == self._first and _names(row, self._column) == self._header:
            # Files were joined, each with a first row of its own.
            yield Problem(number=number, reason="it repeats the first row", text=self._separator.join(row))
        elif self._is_named_again(row):
            # A cell of the first row is merged with the one below, where further names stand.
            yield Problem(number=number, reason="it names its column again", text=self._separator.join(row))
        elif all(map(_RULE.fullmatch, filter(None, map(str.strip, row)))):
            if not self._rule_told:
                self._rule_told = True
                yield Note(text=f"has a line of dashes in line {number}, as tables in Markdown have; it is no question")
        elif COUNTED.fullmatch(row[0]) and not any(row[1:]):
            yield Note(text=f"has the number of its rows in line {number}; it is no question")
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


def _what_to_do(header: Sequence[str], column: str) -> str:
    """Return what a person can do about a first row that names no column of questions."""
    wanted = re.escape(column or "question")
    between = rf"{wanted}([^\w\s?!.])(?=\w)|(?<=\w)([^\w\s?!.]){wanted}"
    if len(header) == 1 and (found := re.search(between, header[0], re.IGNORECASE)):
        return f"if {(found[1] or found[2])!r} separates its columns, write `sep=` with it into a line above"
    if any(re.fullmatch(rf"['’“„«]{wanted}['’“”»]", each.strip(), re.IGNORECASE) for each in header):
        return 'put " in the place of the quotes around its cells, which are none in CSV'
    return f"{NAMELESS}; where each line is a question, name the file .txt" if len(header) == 1 else NAMELESS


def _forced(value: str) -> str:
    found = _FORCED.fullmatch(value)
    return found[1].replace('""', '"') if found else value


def _names(header: Iterable[str], column: str) -> list[str]:
    """Return the names of columns; the one that a person named is that of the questions."""
    names = list(map(field_named, header))
    wanted = field_named(column).casefold()
    return ["question" if each.casefold() == wanted else each for each in names] if column else names


def _each_once(names: Sequence[str]) -> Iterator[str]:
    """Yield the names, numbered where there is none, or where one comes again."""
    seen: Counter[str] = Counter()
    for place, name in enumerate(names, 1):
        name = name or f"column {place}"
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name} ({seen[name]})"
