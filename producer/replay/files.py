"""Questions from files: JSON lines, CSV, the results of an earlier replay. Streamed, and no line stops another."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from pydantic import ValidationError
from pydantic_core import from_json

from agentic_flywheel.models import Model
from producer.replay.items import ReplayItem
from producer.replay.recorded import Recorded
from producer.replay.results import ItemResult

#: A longer line is no question, and would have to be held in memory whole.
MAX_LINE = 8 * 2**20
_SHOWN = 160
_NESTED = frozenset({"metadata", "config", "history"})
_NOT_GIVEN = frozenset({"number", "baseline"})
_FIELDS = frozenset(ReplayItem.model_fields) - _NOT_GIVEN | {"answer"}


class Problem(Model):
    """A line that cannot be asked."""

    number: int
    reason: str
    #: How the line begins, for who looks for it.
    text: str = ""


Read = ReplayItem | Problem


def read_jsonl(file: BinaryIO) -> Iterator[Read]:
    """Yield what each line holds; a line of an earlier replay's results counts too, and empty ones do not."""
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            start, length = line[:_SHOWN], len(line)
            while line and not line.endswith(b"\n"):
                line = file.readline(MAX_LINE)
                length += len(line)
            yield Problem(
                number=number, reason=f"it has {length} bytes, at most {MAX_LINE} are read", text=_text(start)
            )
        elif line.strip():
            yield _of_line(number, line)


def _of_line(number: int, line: bytes) -> Read:
    try:
        fields = from_json(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
    except ValueError as refused:
        return Problem(number=number, reason=f"it is not JSON: {refused}", text=_text(line))
    if not isinstance(fields, dict):
        return Problem(number=number, reason="it is no JSON object", text=_text(line))
    if fields.keys() >= {"item", "outcome"}:
        return _of_result(number, fields, line)
    return item_of(number, fields, text=_text(line))


def _of_result(number: int, fields: dict[str, Any], line: bytes) -> Read:
    try:
        result = ItemResult.model_validate(fields)
    except ValidationError as refused:
        return Problem(number=number, reason=_reason(refused), text=_text(line))
    return result.item.model_copy(update={"number": number, "baseline": result.outcome})


def item_of(number: int, fields: dict[str, Any], *, text: str = "") -> Read:
    """Return the item that named values describe; None counts as not given. ``answer`` is the text of before."""
    given = {name: value for name, value in fields.items() if value is not None}
    unknown = sorted(given.keys() - _FIELDS)
    if unknown:
        reason = f"there is no field {unknown[0]!r}; what is your own belongs under metadata"
        return Problem(number=number, reason=reason, text=text)
    answer = given.pop("answer", None)
    if isinstance(given.get("id"), int):
        given["id"] = str(given["id"])
    try:
        baseline = None if answer is None else Recorded(text=answer)
        return ReplayItem.model_validate({"id": str(number), **given, "number": number, "baseline": baseline})
    except ValidationError as refused:
        return Problem(number=number, reason=_reason(refused), text=text)


def read_csv(file: TextIO) -> Iterator[Read]:
    """Yield what each row holds. Columns have the names of the fields; any other column goes to ``metadata``.

    ``file`` is opened with ``newline=""`` and ``errors="surrogateescape"``. Raises ValueError where there is no column
    ``question``.
    """
    csv.field_size_limit(MAX_LINE)
    rows = csv.reader(file, strict=True)
    header = [name.strip() for name in next(rows, [])]
    if "question" not in header:
        raise ValueError(f"its first row names no column 'question' but {', '.join(header)[:200] or 'nothing'}")
    while True:
        number = rows.line_num + 1
        try:
            row = next(rows, None)
        except csv.Error as refused:
            yield Problem(number=number, reason=f"it is not CSV: {refused}")
            continue
        if row is None:
            return
        if any(value.strip() for value in row):
            yield _of_row(number, header, row)


def _of_row(number: int, header: list[str], row: list[str]) -> Read:
    text = ",".join(row)[:_SHOWN].encode(errors="replace").decode()
    if len(row) > len(header):
        return Problem(number=number, reason=f"it has {len(row)} values for {len(header)} columns", text=text)
    if any("\udc80" <= character <= "\udcff" for value in row for character in value):
        return Problem(number=number, reason="it is not UTF-8", text=text)
    fields: dict[str, Any] = {}
    more: dict[str, Any] = {}
    for name, value in zip(header, row, strict=False):
        if value == "":
            continue
        if name in _NESTED:
            try:
                fields[name] = json.loads(value)
            except ValueError as refused:
                return Problem(number=number, reason=f"{name} is not JSON: {refused}", text=text)
        elif name in _FIELDS:
            fields[name] = value
        else:
            more[name] = value
    if more:
        fields["metadata"] = {**more, **fields.get("metadata", {})}
    return item_of(number, fields, text=text)


def read_file(path: Path) -> Iterator[Read]:
    """Yield what a file holds: CSV where its name ends so, else JSON lines; of a replay's folder its results.

    Raises OSError, ValueError.
    """
    if path.is_dir():
        path = path / "results.jsonl"
    if path.suffix.lower() == ".csv":
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as rows:
            yield from read_csv(rows)
    else:
        with path.open("rb") as lines:
            yield from read_jsonl(lines)


def read_objects(objects: Iterable[str | dict[str, Any] | ReplayItem]) -> Iterator[Read]:
    """Yield what a program gives: questions, their fields, or items; numbered as they come."""
    for number, given in enumerate(objects, 1):
        if isinstance(given, ReplayItem):
            yield given.model_copy(update={"number": number})
        else:
            yield item_of(number, {"question": given} if isinstance(given, str) else given)


def _reason(refused: ValidationError) -> str:
    first = refused.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'question'}: {first['msg']}"


def _text(line: bytes) -> str:
    return line[:_SHOWN].decode(errors="replace").rstrip()
