"""What the tests of sources share: a file as bytes, what is read of it, sorted into items, faults and notes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from producer.replay.files import read_file
from producer.replay.items import ReplayItem
from producer.replay.reads import Hints, Note, Problem, Read


class Found(NamedTuple):
    """What a source gave."""

    items: list[ReplayItem]
    problems: list[Problem]
    notes: list[str]

    @property
    def questions(self) -> list[tuple[int, str]]:
        return [(item.number, item.question) for item in self.items]

    @property
    def faults(self) -> list[tuple[int, str]]:
        return [(problem.number, problem.reason) for problem in self.problems]


def found(reads: Iterable[Read]) -> Found:
    every = list(reads)
    return Found(
        [each for each in every if isinstance(each, ReplayItem)],
        [each for each in every if isinstance(each, Problem)],
        [each.text for each in every if isinstance(each, Note)],
    )


def of_file(path: Path, content: str | bytes, encoding: str = "", column: str = "") -> Found:
    """Return what is read of a file with this content; encoding and column of the questions, if they are told."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return found(read_file(path, Hints(encoding, column)))
