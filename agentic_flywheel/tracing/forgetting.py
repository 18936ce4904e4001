"""Take a person's observations out of the trace files, and find their traces in Langfuse."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from agentic_flywheel.broker.forgetting import Person
from agentic_flywheel.tracing.file_sink import ROTATED, set_aside
from agentic_flywheel.whole_files import replacing

#: Seconds in which a process that has opened the file has written to it.
_WRITTEN = 0.2


def forget_lines(folder: Path, person: Person, query_ids: Collection[str]) -> int:
    """Rewrite the files without the person's observations; return how many there were. Other processes may write on.

    Raises OSError.
    """
    with suppress(FileNotFoundError):
        set_aside(folder)
        time.sleep(_WRITTEN)
    return sum(_rewrite(path, person, query_ids) for path in sorted(folder.glob(ROTATED)))


def _rewrite(path: Path, person: Person, query_ids: Collection[str]) -> int:
    with path.open("rb") as lines:
        doomed = [number for number, line in enumerate(lines) if _is_theirs(line, person, query_ids)]
    if not doomed:
        return 0
    with replacing(path, 0o600) as kept:
        kept.writelines(_without(path, set(doomed)))
    return len(doomed)


def _without(path: Path, doomed: set[int]) -> Iterator[bytes]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines):
            if number not in doomed:
                yield line


def _is_theirs(line: bytes, person: Person, query_ids: Collection[str]) -> bool:
    with suppress(ValueError, AttributeError):
        seen = json.loads(line)
        return seen.get("query_id") in query_ids or person.has(seen.get("user"), seen.get("session"))
    return False
