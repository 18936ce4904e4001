"""A house with doors: processes that serve its flows to clients of other people."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from pipeline.house import House
from processes import IMPORT_PATH, Process, wait_for


class DoorHouse(House):
    """A house, and how to open its doors."""

    def __init__(self, folder: Path, *, registry: str, aof: bool = False) -> None:
        super().__init__(folder, registry=registry, aof=aof)
        self.doors: list[Process] = []
        #: Where the door is that stands open for all tests, without a slash at its end.
        self.url = ""

    @property
    def env(self) -> dict[str, str]:
        """The environment in which a door finds this house."""
        return {
            "FLYWHEEL_REDIS_URL": self.broker.url,
            "FLYWHEEL_FLOWISE_BASE_URL": self.flowise_url,
            "FLYWHEEL_REGISTRY": str(self.registry),
            "FLYWHEEL_PROFILES": str(self.profiles),
            "FLYWHEEL_HOME": str(self.folder / "home"),
            "PYTHONPATH": os.pathsep.join(map(str, IMPORT_PATH)),
        }

    def opened(self, name: str, module: str, *options: str, **env: str) -> str:
        """Start a module that serves; return its address once it does. ``name``: what its log is called."""
        log = self.folder / f"{name}-{len(self.doors)}.log"
        command = [sys.executable, "-m", module, "--log-level", "INFO", *options]
        door = Process(command, log=log, env={**self.env, **env})
        self.doors.append(door)
        told = wait_for(lambda: re.search(r"serves (\S+)", door.log) or not door.alive, within=60, what=name)
        assert isinstance(told, re.Match), door.log[-3000:]
        return str(told[1])

    def stop(self) -> None:
        for door in self.doors:
            if door.alive:
                door.terminate(within=20)
            door.kill()
        super().stop()
