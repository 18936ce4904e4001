"""Rows as a table for a person."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from benchmarks.lab.asking import Row

#: Columns that a table has at most. More figures stand one below the other, and the rows side by side.
_WIDEST = 12


def table(title: str, rows: Iterable[Row]) -> Table:
    """Return a table with a column for each figure that any of the rows has; a line for each where there are many."""
    rows = list(rows)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    drawn = Table(title=title)
    if len(columns) > _WIDEST:
        drawn.add_column("")
        for row in rows:
            drawn.add_column(row["name"], justify="right", overflow="fold")
        for column in columns[1:]:
            drawn.add_row(column.replace("_", " "), *(str(row.get(column, "")) for row in rows))
        return drawn
    for column in columns:
        drawn.add_column(column.replace("_", " "), justify="left" if column == "name" else "right", overflow="fold")
    for row in rows:
        drawn.add_row(*(str(row.get(column, "")) for column in columns))
    return drawn


def console() -> Console:
    """Return where a table is printed. A terminal has its own width; in a file nothing is cut."""
    return Console(width=None if sys.stdout.isatty() else 180)


def print_found(found: Row, *, as_json: bool) -> None:
    """Print the figures of one measurement, a line each, or as one JSON object."""
    if as_json:
        print(json.dumps(found))
        return
    drawn = Table("", "found")
    for name, value in found.items():
        drawn.add_row(name.replace("_", " "), str(value))
    console().print(drawn)
