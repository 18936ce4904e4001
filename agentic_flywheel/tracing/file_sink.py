"""Write observations to a rotating file of JSON lines. So there are traces without any server."""

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
from agentic_flywheel.tracing.sink import DELIVERED, SendResult, Text

CURRENT = "observations.jsonl"
ROTATED = "observations-*.jsonl"


class FileSink:
    """Appends to a file that all processes of this machine share. The process that finds it full renames it."""

    batch_count = 2048
    batch_bytes = 3_000_000

    def __init__(self, folder: Path, *, file_bytes: int = 32_000_000, files: int = 8) -> None:
        self._folder, self._file_bytes, self._files = folder, file_bytes, files

    def encode(self, seen: Observation, text: Text) -> bytes:
        return to_line(seen, text)

    def send(self, batch: Sequence[bytes]) -> SendResult:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._rotate()
            # One write to a file that is open for appending: so lines of several processes do not mix.
            descriptor = os.open(self._folder / CURRENT, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(descriptor, b"".join(batch))
            finally:
                os.close(descriptor)
        except OSError as why:
            return SendResult("again", f"{self._folder}: {why.strerror or why}")
        return DELIVERED

    def close(self) -> None:
        pass

    def _rotate(self) -> None:
        current = self._folder / CURRENT
        # Another process may have renamed it meanwhile; then there is nothing to do.
        with suppress(FileNotFoundError):
            if current.stat().st_size < self._file_bytes:
                return
            set_aside(self._folder)
            for old in sorted(self._folder.glob(ROTATED))[: -self._files + 1]:
                old.unlink(missing_ok=True)


def set_aside(folder: Path) -> None:
    """Give the current file the name of a full one. Raises FileNotFoundError where another process did it."""
    (folder / CURRENT).rename(folder / f"observations-{time.time_ns():020d}.jsonl")


def to_line(seen: Observation, text: Text) -> bytes:
    """Return an observation as one line of JSON. Fields without a value are left out."""
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
        fields["usage"] = seen.usage.model_dump(mode="json", exclude_defaults=True)
    return json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def from_line(line: bytes) -> Observation | None:
    """Return the observation in a line; None where a crash cut the line, or where it is not ours."""
    try:
        fields = json.loads(line)
        if usage := fields.get("usage"):
            fields["usage"] = Usage.model_validate(usage)
        fields["tags"] = tuple(fields.get("tags", ()))
        return Observation(**fields)
    except (ValueError, TypeError, AttributeError):
        return None


def read_lines(folder: Path, *, containing: bytes = b"") -> Iterator[Observation]:
    """Yield the observations in a folder's files whose lines contain these bytes, the oldest file first."""
    for path in [*sorted(folder.glob(ROTATED)), folder / CURRENT]:
        with suppress(FileNotFoundError), path.open("rb") as lines:
            for line in lines:
                if containing in line and (seen := from_line(line)) is not None:
                    yield seen
