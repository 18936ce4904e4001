"""Who runs: the one stack that a home may have, what it tells other commands, and how they find it.

The lock is the truth, the file beside it only says more: the system frees a lock when its holder dies, so that a file
which a killed stack left behind is known to be stale without guessing from process ids.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agentic_flywheel.errors import StackRunning
from agentic_flywheel.settings import Settings, load_settings, without_credentials

#: Another command that looks whether a stack runs holds the lock for a moment.
_PATIENCE = 1.0


class StackInfo(BaseModel):
    """How to reach a running stack."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    #: Both may carry a password, so they stay out of logs.
    redis_url: str = Field(repr=False)
    flowise_url: str | None = Field(None, repr=False)
    #: Whether the sandbox answers in Flowise's place.
    sandbox: bool = False
    flower_url: str | None = None
    flower_user: str | None = None
    flower_password: str | None = Field(None, repr=False)
    #: Where Prometheus reads figures: of this stack as `up`, and of each worker by its name.
    metrics_urls: dict[str, str] = {}
    #: Process ids by service name.
    pids: dict[str, int] = {}


def stack_settings(settings: Settings | None = None) -> Settings:
    """Return the settings, by default the environment's, with the running stack's addresses where they name none."""
    settings = settings or load_settings()
    stack = running_stack(settings.home)
    if stack is None:
        return settings
    found = {"redis_url": stack.redis_url, "flowise_base_url": stack.flowise_url}
    given = {name for name in settings.model_fields_set if getattr(settings, name) is not None}
    return settings.model_copy(update={name: value for name, value in found.items() if name not in given})


def _lock_file(home: Path) -> Path:
    return home / "up.lock"


def state_file(home: Path) -> Path:
    return home / "up.json"


def running_stack(home: Path) -> StackInfo | None:
    """Return the stack that runs with this home; None when none does, or when it is still starting."""
    if not _locked(home):
        return None
    with contextlib.suppress(FileNotFoundError, ValidationError):
        return StackInfo.model_validate_json(state_file(home).read_bytes())
    return None


def _locked(home: Path) -> bool:
    try:
        lock = os.open(_lock_file(home), os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


class Claim:
    """The right to run a stack with one home."""

    def __init__(self, home: Path, lock: int) -> None:
        self.home = home
        #: The lock's descriptor. The guard inherits it, so that the home stays claimed until all is cleared away.
        self.lock = lock

    def publish(self, info: StackInfo) -> None:
        """Write the state file whole, readable by its owner only: it holds passwords."""
        draft = self.home / "up.json.new"
        draft.unlink(missing_ok=True)
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(info.model_dump_json(indent=2))
        draft.replace(state_file(self.home))

    def withdraw(self) -> None:
        state_file(self.home).unlink(missing_ok=True)


@contextlib.contextmanager
def claim(home: Path) -> Iterator[Claim]:
    """Take the home for the time of the block. Raises StackRunning, naming the stack that has it."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(_lock_file(home), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not _taken(lock):
            other = running_stack(home)
            raise StackRunning(str(home), without_credentials(other.redis_url) if other else "")
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
