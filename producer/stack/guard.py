"""Stop a stack's processes when ``flywheel up`` was killed and cannot do it itself. Runs as a process of its own.

It reads lines from a pipe, ``+ stage pid grace`` for every process that was started and ``- stage pid`` for every one
that ended. The pipe closes when its writer dies, however it dies. The guard then stops what is left, the last stage
first, so that workers hand back their queries while the broker still runs. It imports the standard library only, to
stay small and to work whatever happened to the rest. It inherits the lock on the home and frees it when it ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path


def left_over(lines: Iterable[str]) -> list[dict[int, float]]:
    """Return the processes that have not ended, id and grace in seconds: one group a stage, the last stage first."""
    stages: dict[int, dict[int, float]] = {}
    for line in lines:
        sign, stage, pid, *grace = line.split()
        group = stages.setdefault(int(stage), {})
        if sign == "+":
            group[int(pid)] = float(grace[0])
        else:
            group.pop(int(pid), None)
    return [stages[stage] for stage in sorted(stages, reverse=True) if stages[stage]]


def signal_group(pid: int, signum: int) -> bool:
    """Signal a process and its children; ``signum`` 0 sends nothing. Return whether there was one to signal."""
    try:
        os.killpg(pid, signum)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def ended(pid: int) -> bool:
    """Return whether a process has ended. A zombie has: in a container, nobody may collect it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:  # it is gone, or this system has no /proc
        return not signal_group(pid, 0)


def stop(group: dict[int, float]) -> None:
    """Send SIGTERM to the processes, and SIGKILL to those that still run after their grace."""
    for pid in group:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGTERM)
    started = time.monotonic()
    for pid, grace in group.items():
        while not ended(pid) and time.monotonic() < started + grace:
            time.sleep(0.05)
        signal_group(pid, signal.SIGKILL)


def main(state_file: Path) -> None:
    """Read until the pipe closes, then stop what is left."""
    *drained, last = left_over(sys.stdin) or [{}]
    for group in drained:
        stop(group)
    if last:  # until then, other commands show what is still answered
        state_file.unlink(missing_ok=True)
    stop(last)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
