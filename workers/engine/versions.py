"""Refuse to start the engine on releases of Celery, kombu, redis-py or Redis that it has not been checked against."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version

from agentic_flywheel.errors import EngineUnsupported

#: Exact for what we reach into; redis-py's parts that we use are stable within a minor release.
NEEDED: Mapping[str, str] = {"celery": "5.7.0", "kombu": "5.7.0", "redis": "8.1"}
OLDEST_REDIS = 7


def unknown_versions(found: Mapping[str, str]) -> dict[str, str]:
    """Return what is installed but not known to the engine. ``8.1`` stands for every 8.1.x."""

    def known(name: str) -> bool:
        needed, has = NEEDED[name].split("."), found[name].split(".")
        return has[: len(needed)] == needed

    return {name: found[name] for name in NEEDED if not known(name)}


def check_versions(found: Mapping[str, str] | None = None) -> None:
    """Raise EngineUnsupported unless every library is one we know. ``found``: instead of what is installed."""
    unknown = unknown_versions(found or {name: version(name) for name in NEEDED})
    if unknown:
        raise EngineUnsupported(
            found=", ".join(f"{name} {has}" for name, has in unknown.items()),
            needed=", ".join(f"{name} {NEEDED[name]}" for name in unknown),
        )


def check_server(version: str) -> None:
    """Raise EngineUnsupported for a server without script flags, such as ``allow-oom``. Valkey says that it is 7.2."""
    if int(version.split(".")[0]) < OLDEST_REDIS:
        raise EngineUnsupported(found=f"Redis {version}", needed=f"Redis {OLDEST_REDIS} or Valkey")
