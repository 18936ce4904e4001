"""Let at most one stack run in each home (``FLYWHEEL_HOME``), by a file lock that is held while the stack runs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from agentic_flywheel.addresses import without_secrets
from agentic_flywheel.errors import StackRunning
from agentic_flywheel.stack import StackInfo, lock_file, running_stack, state_file
from agentic_flywheel.whole_files import replacing

#: Seconds to wait for the lock: a command that checks whether a stack runs holds it for a moment.
_PATIENCE = 1.0


class Claim:
    """The lock on one home, and the state file in it by which other commands find the stack."""

    def __init__(self, home: Path, lock: int) -> None:
        self.home = home
        #: The lock's descriptor. The guard process inherits it, so the home stays locked until every process has ended.
        self.lock = lock

    def publish(self, info: StackInfo) -> None:
        """Replace the state file in one step. Only its owner can read it, because it holds passwords."""
        with replacing(state_file(self.home), 0o600) as file:
            file.write(info.model_dump_json(indent=2).encode())

    def withdraw(self) -> None:
        """Remove the state file, so that no command finds this stack any more."""
        state_file(self.home).unlink(missing_ok=True)


@contextlib.contextmanager
def claim(home: Path) -> Iterator[Claim]:
    """Hold the lock on a home during the block. Raises StackRunning where another stack holds it."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(lock_file(home), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not _taken(lock):
            other = running_stack(home)
            raise StackRunning(str(home), without_secrets(other.redis_url) if other else "")
        yield Claim(home, lock)
    finally:
        os.close(lock)


def _taken(lock: int) -> bool:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
