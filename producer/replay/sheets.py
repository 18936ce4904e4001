"""What a sheet of any workbook is: its name, its first rows, and all of them as a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

#: Bytes that a workbook may have when it is unpacked: its texts are held in memory together.
MAX_UNPACKED = 256 * 2**20
#: Rows in which a header is looked for, columns that are read, and rows that a worksheet can have.
HEADER_WITHIN, MAX_COLUMNS, MAX_ROWS = 20, 1_000, 1_048_576

#: A row's cells as texts, without the empty ones at its end, or why it and what follows it cannot be read.
Row = tuple[str, ...] | str
#: Rows with their numbers, counted from 1.
Rows = Iterator[tuple[int, Row]]


@dataclass(frozen=True)
class Sheet:
    """One sheet of a workbook."""

    title: str
    shown: bool
    #: Its first rows, in which a header is looked for.
    head: list[tuple[int, Row]]
    rows: Callable[[], Rows]
    #: Whether cells of it are merged over several rows: their value is read in each of those.
    merged: bool = False
    #: All rows with formulas in place of their values, where a formula may have none.
    formulas: Callable[[], Rows] | None = None


class Merged:
    """Writes the value of a cell that is merged over several rows into each of them, as a person reads it.

    A row in which nothing else stands is left empty: there the merge is for the looks.
    """

    def __init__(self) -> None:
        #: By the column: the last row, and the value.
        self._held: dict[int, tuple[int, str]] = {}

    def filled(self, number: int, row: tuple[str, ...], begins: Sequence[tuple[int, int]] = ()) -> tuple[str, ...]:
        """Return a row with what holds for it. ``begins``: column and last row of the merged cells that begin in it."""
        if not self._held and not begins:
            return row
        self._held = {at: each for at, each in self._held.items() if each[0] >= number}
        cells = list(row)
        for at, (_, value) in self._held.items() if any(row) else ():
            cells += [""] * (at + 1 - len(cells))
            cells[at] = cells[at] or value
        for at, last in begins:
            if at < len(row) and row[at]:
                self._held[at] = last, row[at]
        return tuple(cells)
