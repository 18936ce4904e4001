"""Read questions from files of any known format, as a stream. Faulty lines and assumptions are reported."""

from __future__ import annotations

import re
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal, TextIO

from producer.replay.csv_source import begins_as_csv, read_csv
from producer.replay.doubts import Doubts
from producer.replay.items import ReplayItem
from producer.replay.json_source import read_json
from producer.replay.json_values import parse
from producer.replay.opening import Plain, encoding_of, known_encoding, opened, text_of, unpacked
from producer.replay.reads import NO_HINTS, Hints, Note, Problem, Read, item_of
from producer.replay.sheet_source import read_sheet
from producer.replay.signs import LOOKED_AT, other_text
from producer.replay.text_source import read_text

_JSON = (".jsonl", ".ndjson", ".json")
_TABS = (".tsv", ".tab")
_SHEETS = (".xlsx", ".xlsm", ".xls", ".ods")
_MARKDOWN = (".md", ".markdown")
_TEXTS = (".txt", ".text", *_MARKDOWN)
_FORMATS: dict[str, Literal["JSON", "CSV"]] = {**dict.fromkeys(_JSON, "JSON"), **dict.fromkeys((*_TABS, ".csv"), "CSV")}
_ZIP, _OLD = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
#: How a list of JSON goes on; in a text a bracket may begin a line.
_LIST = re.compile(r"\[\s*([\[{\"\]]|$)")
#: Characters that no text begins with.
_BINARY = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_PAGE = re.compile(r"<(\?xml|!doctype|html|head|body|table)\b", re.IGNORECASE)


def read_named(name: str, told: Hints = NO_HINTS) -> Iterator[Read]:
    """Yield what a person names: a file, or ``-``, which is stdin. Raises OSError, ValueError, PackageMissing."""
    return read_stream(sys.stdin.buffer, told) if name == "-" else read_file(Path(name), told)


def read_file(path: Path, told: Hints = NO_HINTS) -> Iterator[Read]:
    """Yield what a file holds, by the ending of its name, else by how it begins; of a replay's folder its results.

    ``told``: what the file does not say itself. Raises OSError, ValueError, PackageMissing.
    """
    if path.is_dir() and not (path / "results.jsonl").exists():
        raise ValueError("it is a folder without results.jsonl, so no replay's")
    path = path / "results.jsonl" if path.is_dir() else path
    before = _state_of(path)
    with opened(path) as (plain, name):
        yield from _all(plain, name, told)
    if _state_of(path) != before:
        yield Note(
            text="has changed while it was read: rows may be missing or cut off; ask it again once it is complete"
        )


def _state_of(path: Path) -> tuple[int, int] | None:
    """Return size and time of change of a file; None where it is no regular one, or is gone."""
    try:
        state = path.stat()
    except OSError:
        return None
    return (state.st_size, state.st_mtime_ns) if stat.S_ISREG(state.st_mode) else None


def read_stream(file: BinaryIO, told: Hints = NO_HINTS) -> Iterator[Read]:
    """Yield what a stream holds; ``told``: what it does not say itself. Raises OSError, ValueError, PackageMissing."""
    with unpacked(file) as plain:
        yield from _all(plain, "", told)


def read_objects(objects: Iterable[str | dict[str, Any] | ReplayItem]) -> Iterator[Read]:
    """Yield what a program gives: questions, their fields, or items; numbered as they come."""
    for number, given in enumerate(objects, 1):
        if isinstance(given, ReplayItem):
            yield given.model_copy(update={"number": number})
        else:
            yield item_of(number, {"question": given} if isinstance(given, str) else given)


def _format(text: TextIO, name: str, kind: str, column: str) -> Literal["JSON", "CSV", "text"]:
    """Return the format of a text: what it begins as, else what its name says. Raises ValueError where neither tells.

    Who names a file by hand now and then errs; no row begins with a bracket, and no JSON with the names of columns.
    """
    begin = text.read(4096).lstrip(" \t\r\n\x1e\ufeff")
    text.seek(0)
    if begins_as_csv(begin, column):
        return "CSV"
    if begin.startswith("{") or _LIST.match(begin):
        return "JSON"
    if kind in _FORMATS:
        return _FORMATS[kind]
    if _PAGE.match(begin):
        raise ValueError("it is a web page or other XML: open it in a spreadsheet program and save it as .xlsx or CSV")
    if kind in _SHEETS:
        raise ValueError("it is no workbook of the kind .xlsx, or it is cut off")
    if begin.startswith('"') and _is_json(begin.splitlines()[0]):
        return "JSON"
    if kind not in _TEXTS and _BINARY.search(begin):
        raise ValueError("it is no text but a file of another program: export the questions as CSV or JSON lines")
    if name.endswith((".yaml", ".yml")):
        raise ValueError("it is YAML: write its questions as JSON lines, CSV, or a text with one a line")
    if kind not in _TEXTS and (other := other_text(begin.splitlines()[:LOOKED_AT])):
        raise ValueError(other)
    named = kind in _TEXTS or "." not in name.lstrip(".")
    if column or not named:
        what = "" if named else "; a text with a question a line is named .txt"
        raise ValueError(f"its first line names no column {column or 'question'!r}, and it is no JSON{what}")
    return "text"


def _is_json(line: str) -> bool:
    try:
        parse(line)
    except ValueError:
        return False
    return True


def _all(plain: Plain, name: str, told: Hints) -> Iterator[Read]:
    """Yield what a file holds, and then what of it is lost."""
    last = 0
    doubts = Doubts()
    if told.encoding:
        told = told._replace(encoding=known_encoding(told.encoding))
    for read in _read(plain.file, name, told):
        last = last if isinstance(read, Note) else max(last, read.number)
        if isinstance(read, ReplayItem):
            doubts.look(read.number, read.question)
        yield read
    yield from doubts.notes()
    if plain.lost:
        yield Problem(number=last + 1, reason=plain.lost)


def _read(file: BinaryIO, name: str, told: Hints) -> Iterator[Read]:
    start = file.read(4)
    file.seek(0)
    kind = next((each for each in (*_JSON, *_TABS, *_SHEETS, *_TEXTS, ".csv") if name.endswith(each)), "")
    if start in (_ZIP, _OLD):
        if told.encoding:
            raise ValueError("it is a workbook, which says its encoding itself")
        yield from read_sheet(file, column=told.column)
        return
    encoding = encoding_of(file, told=told.encoding)
    text = text_of(file, encoding)
    try:
        found = _format(text, name, kind, told.column)
        if encoding.doubt and found != "JSON":
            raise ValueError(encoding.doubt)
        if kind and kind not in _TEXTS and found != _FORMATS.get(kind):
            yield Note(text=f"is named {kind} but begins as {found} does, and is read as that")
        elif found == "CSV" and kind not in _FORMATS:
            yield Note(text="is read as CSV: its first line names a column of questions")
        if encoding.note:
            yield Note(text=encoding.note)
        match found:
            case "JSON":
                yield from read_json(text, column=told.column)
            case "CSV":
                yield from read_csv(text, tabs=kind in _TABS, column=told.column)
            case "text":
                yield from read_text(text, markdown=kind in _MARKDOWN)
    finally:
        text.detach()  # whoever opened the file closes it
