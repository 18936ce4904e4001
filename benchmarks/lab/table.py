"""Rows as a table for a person."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from benchmarks.lab.asking import Row


def table(title: str, rows: Iterable[Row]) -> Table:
    """Return a table with a column for each figure that any of the rows has."""
    rows = list(rows)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    drawn = Table(title=title)
    for column in columns:
        drawn.add_column(column.replace("_", " "), justify="left" if column == "name" else "right", overflow="fold")
    for row in rows:
        drawn.add_row(*(str(row.get(column, "")) for column in columns))
    return drawn
