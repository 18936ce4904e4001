"""Refuse to start on versions of Celery, kombu or redis-py that the engine was not checked with."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version

from agentic_flywheel.errors import EngineUnsupported

#: Celery and kombu are pinned exactly, since the engine uses their private parts. What it uses of redis-py does not
#: change within a minor release: ``8.1`` stands for every 8.1.x.
CHECKED_WITH: Mapping[str, str] = {"celery": "5.7.0", "kombu": "5.7.0", "redis": "8.1"}


def check_versions(installed: Mapping[str, str] | None = None) -> None:
    """Raise EngineUnsupported unless the engine was checked with every library.

    ``installed``: versions by library, in place of those that are installed.
    """
    found = installed or {name: version(name) for name in CHECKED_WITH}
    unknown = [name for name, needed in CHECKED_WITH.items() if not _is_release_of(needed, found[name])]
    if unknown:
        raise EngineUnsupported(
            found=", ".join(f"{name} {found[name]}" for name in unknown),
            needed=[_requirement(name, CHECKED_WITH[name]) for name in unknown],
        )


def _is_release_of(needed: str, found: str) -> bool:
    parts = needed.split(".")
    return found.split(".")[: len(parts)] == parts


def _requirement(name: str, needed: str) -> str:
    return f"{name}=={needed}" if needed.count(".") == 2 else f"{name}=={needed}.*"
