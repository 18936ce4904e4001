"""Read questions from files of any known format, as a stream. Faulty lines and assumptions are reported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from producer.replay.csv_source import read_csv
from producer.replay.items import ReplayItem
from producer.replay.json_source import read_json
from producer.replay.opening import Plain, encoding_of, known_encoding, opened, text_of, uncompressed, unpacked
from producer.replay.reads import Note, Problem, Read, item_of
from producer.replay.sheet_source import read_sheet

_JSON = (".jsonl", ".ndjson", ".json")
_TABS = (".tsv", ".tab")
_SHEETS = (".xlsx", ".xlsm", ".xls")
_ZIP, _OLD = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"


def is_known(path: Path) -> bool:
    """Whether a file's name says which format it has."""
    name = path.name.lower()
    return uncompressed(name) != name or name.endswith((*_JSON, *_TABS, *_SHEETS, ".csv"))


def read_file(path: Path, encoding: str = "") -> Iterator[Read]:
    """Yield what a file holds, by the ending of its name, else by how it begins; of a replay's folder its results.

    ``encoding`` is that of its text; without one the file itself shows it, or it is assumed and said. Raises OSError,
    ValueError, PackageMissing.
    """
    if path.is_dir() and not (path / "results.jsonl").exists():
        raise ValueError("it is a folder without results.jsonl, so no replay's")
    with opened(path / "results.jsonl" if path.is_dir() else path) as (plain, name):
        yield from _all(plain, name, encoding)


def read_stream(file: BinaryIO, encoding: str = "") -> Iterator[Read]:
    """Yield what stdin holds, in this ``encoding`` if one is given. Raises OSError, ValueError, PackageMissing."""
    with unpacked(file) as plain:
        yield from _all(plain, "", encoding)


def read_objects(objects: Iterable[str | dict[str, Any] | ReplayItem]) -> Iterator[Read]:
    """Yield what a program gives: questions, their fields, or items; numbered as they come."""
    for number, given in enumerate(objects, 1):
        if isinstance(given, ReplayItem):
            yield given.model_copy(update={"number": number})
        else:
            yield item_of(number, {"question": given} if isinstance(given, str) else given)


def _all(plain: Plain, name: str, told: str) -> Iterator[Read]:
    """Yield what a file holds, and then what of it is lost."""
    last = 0
    for read in _read(plain.file, name, known_encoding(told) if told else ""):
        last = last if isinstance(read, Note) else max(last, read.number)
        yield read
    if plain.lost:
        yield Problem(number=last + 1, reason=plain.lost)


def _read(file: BinaryIO, name: str, told: str) -> Iterator[Read]:
    start = file.read(4)
    file.seek(0)
    if name.endswith(_SHEETS) or start in (_ZIP, _OLD):
        if told:
            raise ValueError("it is a workbook, which says its encoding itself")
        yield from read_sheet(file)
        return
    kind = next((each for each in (*_JSON, *_TABS, ".csv") if name.endswith(each)), "")
    as_json = kind in _JSON or (not kind and _begins_as_json(file, told))
    encoding = encoding_of(file, told=told, only_unicode=as_json)
    text = text_of(file, encoding)
    try:
        if not kind and not as_json:
            yield Note(text="is read as CSV: it does not begin as JSON does")
        if encoding.note:
            yield Note(text=encoding.note)
        yield from read_json(text) if as_json else read_csv(text, tabs=kind in _TABS)
    finally:
        text.detach()  # whoever opened the file closes it


def _begins_as_json(file: BinaryIO, told: str) -> bool:
    text = text_of(file, encoding_of(file, told=told, only_unicode=True))
    start = text.read(4096).lstrip(" \t\r\n\x1e")
    text.detach()
    return not start or start[0] in '{["'
