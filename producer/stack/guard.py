"""The last resort: a small process that clears the stack away when the one that started it was killed.

It reads lines from a pipe, ``+ stage pid grace`` for every process that was started and ``- stage pid`` for every one
that ended. The pipe closes when its writer dies, however it dies; then whatever is left is stopped, the last stage
first, so that workers drain before their broker goes. Run as a script, with nothing but the standard library: it must
be small, and independent of what it outlives. It also inherits the home's lock, and frees it by ending.
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
    """Return what was started and has not ended: process id and grace in seconds, a group a stage, the last first."""
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
    """Signal a process and its children. Return whether there was any; 0 only asks."""
    try:
        os.killpg(pid, signum)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def ended(pid: int) -> bool:
    """A zombie has ended too: in a container nobody may be there to collect it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:  # it is gone, or this system has no /proc
        return not signal_group(pid, 0)


def stop(group: dict[int, float]) -> None:
    """Ask the processes to end, and end those that have not after their grace."""
    for pid in group:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGTERM)
    started = time.monotonic()
    for pid, grace in group.items():
        while not ended(pid) and time.monotonic() < started + grace:
            time.sleep(0.05)
        signal_group(pid, signal.SIGKILL)


def main(state_file: Path) -> None:
    stages = left_over(sys.stdin)
    if stages:
        state_file.unlink(missing_ok=True)
    for group in stages:
        stop(group)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
