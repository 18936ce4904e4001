"""A replay's folder: its plan, its questions, its results. One process works on it at a time.

``replay.json`` is the plan, ``items.jsonl`` the questions as they were read, ``problems.jsonl`` the lines that cannot
be asked, ``results.jsonl`` what became of the questions. With the folder alone a replay can go on, whatever became of
its source.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from agentic_flywheel.errors import UnusableReplay, UnusableSource
from agentic_flywheel.private_files import private_binary, private_text
from producer.replay.item_ids import ItemIds
from producer.replay.items import ReplayItem
from producer.replay.plan import Plan
from producer.replay.reads import Note, Problem, Read

_NUMBER = re.compile(rb'[{,]"number":(\d+),"id":"')


class Folder:
    """Reads and writes the files of one replay."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.items_file = path / "items.jsonl"
        self.problems_file = path / "problems.jsonl"
        self.results_file = path / "results.jsonl"
        self._plan_file = path / "replay.json"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder during the block. The system frees the lock however this process ends.

        Raises UnusableReplay.
        """
        with self._writing():
            # Only the user may read what people asked.
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UnusableReplay(str(self.path), "another process works on it") from None
            yield
        finally:
            os.close(lock)

    @property
    def taken(self) -> bool:
        """Whether a replay lives here already."""
        return self._plan_file.exists()

    def load(self) -> Plan:
        """Return the plan. Raises UnusableReplay."""
        try:
            return Plan.model_validate_json(self._plan_file.read_bytes())
        except FileNotFoundError:
            raise UnusableReplay(str(self.path), "there is no replay.json in it") from None
        except OSError as refused:
            raise UnusableReplay(str(self.path), refused.strerror or str(refused)) from None
        except ValidationError:
            raise UnusableReplay(str(self.path), "its replay.json is not readable") from None

    def save(self, plan: Plan) -> Plan:
        """Write the plan whole, and return it. Raises UnusableReplay."""
        with self._writing():
            draft = self._plan_file.with_suffix(".new")
            with private_text(draft) as file:
                file.write(plan.model_dump_json(indent=2))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._plan_file)
            sync_folder(self.path)
        return plan

    async def take_in(
        self, source: AsyncIterator[Read], plan: Plan, *, strict: bool, on_note: Callable[[str], None]
    ) -> Plan:
        """Copy all questions here before the first is asked; return the plan with their number.

        Faulty lines go to ``problems.jsonl``; ``on_note`` hears at once what was assumed of the source. Raises
        UnusableSource where there is none to ask, or where a line is faulty and ``strict``; UnusableReplay.
        """
        items = problems = 0
        first: Problem | None = None
        notes: list[str] = []
        ids = ItemIds()
        with (
            self._writing(),
            private_binary(self.items_file, "wb", 1 << 20) as good,
            private_binary(self.problems_file, "wb") as bad,
        ):
            async for read in source:
                if isinstance(read, Note):
                    notes.append(f"{plan.source} {read.text}")
                    on_note(notes[-1])
                elif isinstance(read, Problem):
                    first = first or read
                    problems += 1
                    bad.write(read.model_dump_json().encode() + b"\n")
                else:
                    items += 1
                    ids.add(read)
                    good.write(read.written().encode() + b"\n")
            _sync(good)
            _sync(bad)
        if first is not None and (strict or not items):
            more = f"; {problems} lines are faulty" if problems > 1 else ""
            raise UnusableSource(plan.source, f"line {first.number}: {first.reason}{more}")
        if not items:
            raise UnusableSource(plan.source, "there is no question in it")
        if again := ids.again():
            notes.append(f"{plan.source} gives {again}")
            on_note(notes[-1])
        return self.save(plan.model_copy(update={"items": items, "problems": problems, "notes": tuple(notes)}))

    def abandon(self) -> None:
        """Remove what was written for a replay that cannot begin."""
        for file in (self._plan_file, self.items_file, self.problems_file, self.path / ".lock"):
            file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # what else is in it is not ours
            self.path.rmdir()

    def problems(self) -> Iterator[Problem]:
        """Yield the lines that cannot be asked."""
        with contextlib.suppress(FileNotFoundError), self.problems_file.open("rb") as lines:
            for line in lines:
                yield Problem.model_validate_json(line)

    def items(self, done: Done) -> Iterator[ReplayItem]:
        """Yield the questions that have no outcome yet. Raises UnusableReplay."""
        try:
            lines = self.items_file.open("rb", 1 << 18)
        except OSError as refused:
            raise UnusableReplay(str(self.path), refused.strerror or str(refused)) from None
        with lines:
            for line in lines:
                begin = _NUMBER.search(line)
                if begin is None or int(begin[1]) not in done:
                    yield ReplayItem.model_validate_json(line)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as refused:
            raise UnusableReplay(str(self.path), refused.strerror or str(refused)) from None


class Done:
    """Which item numbers have an outcome: a bit each, so that a million take 125 kB."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def add(self, number: int) -> None:
        byte = number >> 3
        if byte >= len(self._bits):
            self._bits.extend(bytes(byte + 1 - len(self._bits) + 4096))
        self._bits[byte] |= 1 << (number & 7)

    def __contains__(self, number: int) -> bool:
        byte = number >> 3
        return byte < len(self._bits) and bool(self._bits[byte] >> (number & 7) & 1)


def sync_folder(path: Path) -> None:
    """Write a folder's list of files to disk, so that new files survive a power cut."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
