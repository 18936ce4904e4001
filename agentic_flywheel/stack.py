"""The stack that runs on this machine, as other commands find it: its addresses, and the lock that says it is alive.

The lock decides, the file beside it only says more: the system frees a lock when its holder dies, so that a file
which a killed stack left behind is known to be stale without guessing from process ids.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from pydantic import ConfigDict, Field, ValidationError

from agentic_flywheel.base import Model
from agentic_flywheel.errors import InvalidSetting
from agentic_flywheel.settings import Settings, load_settings

#: Where `flywheel mcp --http` serves unless it is told another port.
BRIDGE_PORT = 8765
#: Where `flywheel serve` serves unless it is told another port, and `flywheel up` if that is free.
GATEWAY_PORT = 8766
#: Where `flywheel up` has Flower serve if that is free, and where its unit in deploy/ does.
FLOWER_PORT = 5555
#: The settings that say where a stack is.
PLACES = ("redis_url", "key_prefix", "flowise_base_url")


class StackInfo(Model):
    """How to reach a running stack."""

    model_config = ConfigDict(extra="ignore")

    #: Both may carry a password, so they stay out of logs.
    redis_url: str = Field(repr=False)
    #: What all keys of this installation begin with.
    key_prefix: str = ""
    flowise_url: str | None = Field(None, repr=False)
    #: The registry that it was told to read; None: the one that is found.
    registry: Path | None = None
    #: Whether this stack started the broker.
    broker_started: bool = False
    #: Whether the sandbox answers in Flowise's place.
    sandbox: bool = False
    flower_url: str | None = None
    flower_user: str | None = None
    flower_password: str | None = Field(None, repr=False)
    #: The HTTP gateway.
    api_url: str | None = None
    #: Where Prometheus reads figures: of this stack as `up`, and of each worker by its name.
    metrics_urls: dict[str, str] = {}
    #: Process ids by service name.
    pids: dict[str, int] = {}

    @property
    def places(self) -> dict[str, str | Path | None]:
        """The settings that lead to this stack, by their names."""
        found = (self.redis_url, self.key_prefix, self.flowise_url)
        return {**dict(zip(PLACES, found, strict=True)), **({"registry": self.registry} if self.registry else {})}


def stack_settings(settings: Settings | None = None) -> Settings:
    """Return the settings, by default the environment's, with the running stack's addresses where they name none."""
    settings = settings or load_settings()
    stack = running_stack(settings.home)
    if stack is None:
        return settings
    given = {name for name in settings.model_fields_set if getattr(settings, name) is not None}
    if "redis_url" in given:  # another broker's keys have not the prefix of this stack's
        given.add("key_prefix")
    return settings.model_copy(update={name: value for name, value in stack.places.items() if name not in given})


def lock_file(home: Path) -> Path:
    return home / "up.lock"


def state_file(home: Path) -> Path:
    return home / "up.json"


def running_stack(home: Path) -> StackInfo | None:
    """Return the stack that runs with this home; None when none does, or when it is still starting.

    Raises InvalidSetting where this user may not look into the home.
    """
    if not _locked(home):
        return None
    with contextlib.suppress(FileNotFoundError, ValidationError):
        return StackInfo.model_validate_json(state_file(home).read_bytes())
    return None


def _locked(home: Path) -> bool:
    try:
        lock = os.open(lock_file(home), os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as refused:
        raise InvalidSetting("FLYWHEEL_HOME", f"{home} cannot be looked into: {refused.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
