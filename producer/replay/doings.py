"""What flows did for two outcomes of one question: tools called, sources cited, whether they stopped for a person."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from agentic_flywheel.doings import source_name, source_page
from producer.replay.recorded import Recorded

#: Characters of a source's name.
_NAME = 200


class DoingChanges(NamedTuple):
    """What changed of it; None: one of the two outcomes does not tell."""

    tools: bool | None = None
    sources: bool | None = None
    stop: bool | None = None


def compare_doings(before: Recorded, after: Recorded) -> DoingChanges:
    """Return what changed. In which order tools were called does not matter: a model may call several at once."""
    return DoingChanges(
        tools=_differ(_counted(before.tools), _counted(after.tools)),
        sources=_differ(_set(before.sources), _set(after.sources)),
        stop=_differ(before.stopped, after.stopped),
    )


def source_names(sources: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return what tells sources apart: name and page, or else a hash of the text."""
    return tuple(map(_named, sources))


def _named(source: Mapping[str, Any]) -> str:
    name, page = source_name(source), source_page(source)
    if not name:
        return hashlib.sha256(str(source.get("pageContent")).encode(errors="replace")).hexdigest()[:12]
    return f"{name[:_NAME]}, page {page}" if page is not None else name[:_NAME]


def _counted(names: Sequence[str] | None) -> Counter[str] | None:
    return None if names is None else Counter(names)


def _set(names: Sequence[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)


def _differ(before: object, after: object) -> bool | None:
    return None if before is None or after is None else before != after
