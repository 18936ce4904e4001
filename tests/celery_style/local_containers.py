"""Local processes in the place of the Docker containers that pytest-celery would start.

pytest-celery builds everything on a few containers: a broker and a worker here. With those replaced, its nodes,
clusters and setup run as they are, and its tests on machines without a Docker engine.
"""

from __future__ import annotations

import signal
import socket
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from processes import Process, Valkey, wait_for
from pytest_celery import CeleryTestWorker, CeleryWorkerContainer, RedisContainer


class LocalContainer:
    """What the wrappers of pytest-celery use of a Docker container, on a process that can be started again."""

    def __init__(self, name: str, command: Sequence[str], *, folder: Path, env: Mapping[str, str]) -> None:
        self.id = uuid.uuid4().hex
        self.name = f"{name}-{self.id[:6]}"
        #: Nothing is published and nothing needs an address: all are processes of one machine.
        self.attrs: dict[str, Any] = {
            "Config": {"Hostname": "127.0.0.1", "Env": [f"{key}={value}" for key, value in env.items()]},
            "NetworkSettings": {"Networks": {}, "Ports": {}},
            "HostConfig": {"PortBindings": {}},
        }
        self._command, self._env = command, env
        self._log = folder / f"{self.name}.log"
        self.start()

    def start(self) -> None:
        self._said_before = len(self.logs())
        self._process = Process(self._command, log=self._log, env=self._env)

    @property
    def status(self) -> str:
        return "running" if self._process.alive else "exited"

    def reload(self) -> None:
        """Its state is never a copy."""

    def logs(self) -> bytes:
        return self._log.read_bytes() if self._log.exists() else b""

    def said_since_start(self, text: str) -> bool:
        return text.encode() in self.logs()[self._said_before :]

    def kill(self, signum: str | int | None = None) -> None:
        name = str(signum or "SIGKILL")
        number = signal.Signals[name if name.startswith("SIG") else f"SIG{name}"]
        if number is signal.SIGKILL:
            self._process.kill()  # with its children, as the end of a container is theirs
        else:
            self._process.send(number)

    def restart(self, timeout: float = 10) -> None:
        self.stop(timeout)
        self.start()

    def stop(self, timeout: float = 10) -> None:
        if self._process.alive:
            self._process.terminate(within=timeout)


class FlywheelWorkerContainer(CeleryWorkerContainer):  # type: ignore[misc]
    """The product's own worker process."""

    @classmethod
    def command(cls, *args: str, **_: Any) -> list[str]:
        return [sys.executable, "-m", "workers", "--name", cls.worker_name(), *args]

    def ready(self) -> bool:
        wait_for(
            lambda: self._container.status == "exited" or self._container.said_since_start(self.ready_prompt),
            within=60,
            what="the worker is ready",
        )
        assert self._container.status == "running", self.logs()[-2000:]
        return True


class FlywheelWorker(CeleryTestWorker):  # type: ignore[misc]
    """A node whose worker is named after this machine, not after a container."""

    def hostname(self) -> str:
        return f"{self.worker_name}@{socket.gethostname()}"


class ValkeyContainer(RedisContainer):  # type: ignore[misc]
    """A Valkey of tests.processes, known to pytest-celery as its Redis."""

    def __init__(self, valkey: Valkey) -> None:
        self._valkey = valkey

    @property
    def celeryconfig(self) -> dict[str, Any]:
        return {"url": self.url, "host_url": self.url, "hostname": "127.0.0.1", "port": self._valkey.port, "vhost": "0"}

    @property
    def url(self) -> str:
        return self._valkey.url

    @property
    def status(self) -> str:
        return "running" if self._valkey.process.alive else "exited"

    @property
    def name(self) -> str:
        return f"valkey-{self._valkey.port}"

    def logs(self) -> str:
        """What is shown of it beside a test that fails."""
        return self._valkey.process.log

    def ready(self) -> bool:
        return self.status == "running"

    def reload(self) -> None:
        """Its state is never a copy."""

    def kill(self, signal: Any = None) -> None:
        self._valkey.kill()

    def restart(self, timeout: float = 10) -> None:
        self._valkey.stop()
        self._valkey.start()
