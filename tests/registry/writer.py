"""A process that writes to a registry again and again."""

from __future__ import annotations

from pathlib import Path

from agentic_flywheel.registry import add_flow, update_flow


def write_many(path: Path, writer: str, count: int) -> None:
    for number in range(count):
        add_flow(path, {"key": f"{writer}-{number}", "id": f"{writer}-{number}"}, cwd=path.parent)
        update_flow(path, "poet", {"config": {writer: number}}, cwd=path.parent)
