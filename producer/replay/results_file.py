"""Read a replay's ``results.jsonl``: line by line, or one item's line by its id."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
from pydantic import ValidationError

from agentic_flywheel.errors import ResultsUnreadable
from producer.replay.item_ids import id_hash
from producer.replay.results import ItemResult

NAME = "results.jsonl"


def results_path(given: Path) -> Path:
    """Return the file that a replay's folder, or the file itself, means. Raises ResultsUnreadable where none is."""
    path = given / NAME if given.is_dir() else given
    if not path.is_file():
        raise ResultsUnreadable(str(given), "there is no results.jsonl")
    return path


def read_results(path: Path) -> Iterator[ItemResult]:
    """Yield the results of a file, one at a time. A last line that was cut off by a crash does not count.

    Raises ResultsUnreadable naming the first faulty line.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.endswith(b"\n"):
                yield _result(path, number, line)


def _result(path: Path, number: int, line: bytes) -> ItemResult:
    try:
        return ItemResult.model_validate_json(line)
    except ValidationError as refused:
        first = refused.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the line"
        raise ResultsUnreadable(str(path), f"line {number}: {where}: {first['msg']}") from None


class ResultIndex:
    """Finds an item's result by its id. Memory holds sixteen bytes an item, not the results. Use as a context manager.

    Where several items have one id, the one of the same number is meant, else the first.
    """

    def __init__(self, path: Path) -> None:
        """Read the file once. Raises ResultsUnreadable."""
        self._path = path
        self._file: BinaryIO = path.open("rb")
        hashes, offsets = array("Q"), array("Q")
        offset = 0
        for number, line in enumerate(self._file, 1):
            if line.endswith(b"\n"):
                hashes.append(id_hash(_result(path, number, line).item.id))
                offsets.append(offset)
            offset += len(line)
        order = np.argsort(np.frombuffer(hashes, np.uint64), kind="stable") if len(hashes) else np.zeros(0, np.int64)
        self._hashes = np.array(hashes, np.uint64)[order]
        self._offsets = np.array(offsets, np.uint64)[order]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._hashes)

    def find(self, item_id: str, number: int) -> ItemResult | None:
        """Return the result of an item; None: the file has none."""
        wanted = np.uint64(id_hash(item_id))
        first = int(np.searchsorted(self._hashes, wanted, "left"))
        last = int(np.searchsorted(self._hashes, wanted, "right"))
        # Two ids may share a hash, and two items an id: the line itself says which it is.
        found = [self._at(int(offset)) for offset in self._offsets[first:last]]
        same = [each for each in found if each.item.id == item_id]
        return next((each for each in same if each.item.number == number), same[0] if same else None)

    def _at(self, offset: int) -> ItemResult:
        self._file.seek(offset)
        return _result(self._path, 0, self._file.readline())
