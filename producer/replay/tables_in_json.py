"""A table that is written as one JSON object: by columns, or the names of its columns beside its rows."""

from __future__ import annotations

from typing import Any, TypeGuard

#: What is said of it once.
BY_COLUMNS = "is a table in one object: each of its rows is read as an object"
#: Keys of a table whose rows are lists, and of the names of its columns: pandas' `orient="split"`, databases, Google's
#: sheets, which name the columns in the first row.
_ROWS, _COLUMNS = ("data", "rows", "values"), ("columns", "fields")
#: A row of a page of Hugging Face's datasets server.
_PAGE_ROW = {"row_idx", "row", "truncated_cells"}


def rows_within(value: dict[str, Any]) -> list[Any] | None:
    """Return the rows of a table that an object is; None where it is none.

    Known are columns as lists of one length (`{"question": [...], "id": [...]}`), columns by the numbers of their rows
    (pandas' own way), `columns` beside `data`, and rows by their names (`orient="index"`).
    """
    if (split := _split_rows(value)) is not None:
        return split
    columns = list(value.values())
    if (
        len(columns) > 1
        and "question" not in value
        and all(isinstance(row, dict) and "question" in row for row in columns)
    ):
        return [{"id": name, **row} for name, row in value.items()]
    first = value.get("question")
    if isinstance(first, list) and all(isinstance(each, list) and len(each) == len(first) for each in columns):
        return [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]
    if _is_numbered(first) and all(isinstance(each, dict) and each.keys() == first.keys() for each in columns):
        return [{name: column[row] for name, column in value.items()} for row in first]
    return None


def named_row(names: list[str], row: list[Any]) -> dict[str, Any]:
    """Return a row that is a list as an object."""
    return dict(zip(names, row, strict=False))


def _split_rows(value: dict[str, Any]) -> list[Any] | None:
    rows: list[Any] | None = next((value[name] for name in _ROWS if isinstance(value.get(name), list)), None)
    if not rows or not all(isinstance(row, list) for row in rows):
        return None
    names = next((value[name] for name in _COLUMNS if isinstance(value.get(name), list)), None)
    if names is None:
        names, *rows = rows
    names = [each.get("name") if isinstance(each, dict) else each for each in names]
    return [named_row(names, row) for row in rows] if _is_texts(names) else None


def page_rows(value: dict[str, Any]) -> list[Any] | None:
    """Return the rows of a page of Hugging Face's datasets server; None where it is none."""
    rows = value.get("rows")
    return rows if isinstance(rows, list) and all(map(is_page_row, rows)) else None


def is_page_row(value: Any) -> bool:
    """Whether a value is such a row: `row` holds its cells, and `truncated_cells` names those that were cut."""
    return isinstance(value, dict) and value.keys() <= _PAGE_ROW and isinstance(value.get("row"), dict)


def _is_texts(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and bool(value) and all(isinstance(each, str) for each in value)


def _is_numbered(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict) and bool(value) and all(name.isdecimal() for name in value)
