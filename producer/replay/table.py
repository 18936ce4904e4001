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
from producer.replay.reads import FIELDS, NESTED, Note, Problem, Read, item_of

#: Cells that give nothing: empty ones, and what PostgreSQL and MySQL write in place of nothing.
_NOTHING = frozenset({"", "\\N"})
#: The row with which PostgreSQL's COPY ends, and how COPY and `mysql --batch` write tabs and line ends in a cell.
_COPY_END = "\\."
_ESCAPE = re.compile(r"\\[tnr\\]")
_RULE = re.compile(":?-+:?")
_UNSEEN = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")


def is_header(names: Iterable[str]) -> bool:
    """Whether a row names columns of questions."""
    found = set(map(_name, names))
    return "question" in found or is_langfuse_row(dict.fromkeys(found))


class Table:
    """The columns of one file. A column with the name of a field is that field, any other is kept as ``metadata``."""

    def __init__(self, header: Sequence[str], separator: str = ",") -> None:
        """``separator``: put between cells where a row is shown.

        Raises ValueError where no column is named `question`, or one of a field's twice.
        """
        names = [_name(each) for each in header]
        if not is_header(names):
            told = ", ".join(each for each in names if each)[:200] or "nothing"
            raise ValueError(f"its first row names no column 'question' but {told}")
        twice = [name for name, count in Counter(names).items() if count > 1 and name in FIELDS]
        if twice:
            raise ValueError(f"its first row names the column {twice[0]!r} twice")
        self._header, self._separator = names, separator
        self._order = None if "question" in names else Order()
        self._escapes_unsaid = separator == "\t"
        self.names = list(_each_once(names))

    def notes(self) -> Iterator[Note]:
        """Yield what is worth a word about the columns."""
        if self._order is not None:
            yield Note(text=LANGFUSE)

    def read(self, number: int, row: Sequence[str]) -> Iterator[Read]:
        """Yield what a row gives: nothing where it is empty."""
        if not any(value.strip() for value in row):
            return
        if self._escapes_unsaid and any(map(_ESCAPE.search, row)):
            self._escapes_unsaid = False
            yield Note(text=f"has backslashes from line {number} on; \\t and \\n there stay as they are written")
        if row[0] == _COPY_END and not any(row[1:]):
            yield Note(text=f"has PostgreSQL's end of a copy in line {number}; it is no question")
        elif _name(row[0]) == self._header[0] and [_name(each) for each in row] == self._header:
            # Files were joined, each with a first row of its own.
            yield Problem(number=number, reason="it repeats the first row", text=self._separator.join(row))
        elif all(map(_RULE.fullmatch, filter(None, map(str.strip, row)))):
            yield Note(text=f"has a line of dashes in line {number}, as tables in Markdown have; it is no question")
        else:
            if self._order is not None and (note := self._order.note(dict(zip(self.names, row, strict=False)))):
                yield note
            yield self._of(number, row)

    def _of(self, number: int, row: Sequence[str]) -> Read:
        text = self._separator.join(row)
        if len(row) > len(self.names) and any(row[len(self.names) :]):
            return Problem(number=number, reason=f"it has {len(row)} values for {len(self.names)} columns", text=text)
        if any(UNDECODABLE in value for value in row):
            return Problem(number=number, reason=NO_TEXT, text=text)
        cells = {name: value for name, value in zip(self.names, row, strict=False) if value not in _NOTHING}
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


def _name(name: str) -> str:
    """Return a column's name; one of a field's in whatever case it is written."""
    # Spaces and marks that nobody sees come with texts that were copied from a page.
    plain = _UNSEEN.sub("", unicodedata.normalize("NFKC", name)).strip()
    name = name.strip()
    return plain.lower() if plain.lower() in FIELDS else name


def _each_once(names: Sequence[str]) -> Iterator[str]:
    """Yield the names, numbered where there is none, or where one comes again."""
    seen: Counter[str] = Counter()
    for place, name in enumerate(names, 1):
        name = name or f"column {place}"
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name} ({seen[name]})"
