"""Observations to a rotating file of JSON lines, so that traces are there on the first day, without any server."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from agentic_flywheel.models import Usage
from agentic_flywheel.tracing.observation import Observation, span_and_parent
from agentic_flywheel.tracing.sink import DELIVERED, Outcome, Text

CURRENT = "observations.jsonl"
_ROTATED = "observations-*.jsonl"


class FileSink:
    """Appends to one file that every process of this machine may share; whoever finds it full puts it aside."""

    batch_count = 2048
    batch_bytes = 3_000_000

    def __init__(self, folder: Path, *, file_bytes: int = 32_000_000, files: int = 8) -> None:
        self._folder, self._file_bytes, self._files = folder, file_bytes, files

    def encode(self, seen: Observation, text: Text) -> bytes:
        return to_line(seen, text)

    def send(self, batch: Sequence[bytes]) -> Outcome:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._rotate()
            # One write to a file opened for appending: lines of several processes do not mix.
            descriptor = os.open(self._folder / CURRENT, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(descriptor, b"".join(batch))
            finally:
                os.close(descriptor)
        except OSError as why:
            return Outcome("again", f"{self._folder}: {why.strerror or why}")
        return DELIVERED

    def close(self) -> None:
        pass

    def _rotate(self) -> None:
        current = self._folder / CURRENT
        # Another process may have put it aside in between; then there is nothing to do.
        with suppress(FileNotFoundError):
            if current.stat().st_size < self._file_bytes:
                return
            current.rename(self._folder / f"observations-{time.time_ns():020d}.jsonl")
            for old in sorted(self._folder.glob(_ROTATED))[: -self._files + 1]:
                old.unlink(missing_ok=True)


def to_line(seen: Observation, text: Text) -> bytes:
    """Return an observation as one line of JSON; what is not there is left out."""
    fields: dict[str, Any] = {name: value for name, value in zip(Observation._fields, seen, strict=True) if value}
    fields["span_id"], fields["parent"] = span_and_parent(seen)
    fields["name"] = text(seen.name)
    for name in ("input", "output", "message"):
        value = fields.get(name)
        if value is not None:
            fields[name] = text(value)
    if seen.metadata:
        fields["metadata"] = {name: text(value) for name, value in seen.metadata.items() if value is not None}
    if seen.usage:
        fields["usage"] = seen.usage.model_dump(exclude_defaults=True)
    return json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def from_line(line: bytes) -> Observation | None:
    """Return the observation of a line; None where the line was cut by a crash or is none of ours."""
    try:
        fields = json.loads(line)
        if usage := fields.get("usage"):
            fields["usage"] = Usage.model_validate(usage)
        fields["tags"] = tuple(fields.get("tags", ()))
        return Observation(**fields)
    except (ValueError, TypeError, AttributeError):
        return None


def read_lines(folder: Path, *, containing: bytes = b"") -> Iterator[Observation]:
    """Yield the observations of a folder whose line contains these bytes, the oldest file first."""
    for path in [*sorted(folder.glob(_ROTATED)), folder / CURRENT]:
        with suppress(FileNotFoundError), path.open("rb") as lines:
            for line in lines:
                if containing in line and (seen := from_line(line)) is not None:
                    yield seen
