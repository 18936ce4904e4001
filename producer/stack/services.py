"""The services beside the broker: the sandbox, Flower and the workers, as commands to run."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from datetime import timedelta

from agentic_flywheel.settings import Settings
from producer.stack.processes import Service, Stage

#: Flower keeps this many tasks in memory, and forgets a worker that is gone for so many seconds.
FLOWER_TASKS = 20_000
FLOWER_PURGE = 60

#: ``-P``: a folder named `workers` in the user's working folder must not be run in the place of ours.
_PYTHON = (sys.executable, "-P", "-m")


def sandbox(port: int) -> Service:
    """Return the server that answers in Flowise's place."""
    argv = (*_PYTHON, "workers.sandbox", "--port", str(port))

    async def ready() -> bool:
        return await _serves(port, "/api/v1/ping")

    return Service("sandbox", argv, Stage.COMPANION, ready)


def flower(settings: Settings, *, broker: str, port: int, user: str, password: str) -> Service:
    """Return Flower, on loopback and behind a password. It needs the broker only, none of the workers' code."""
    options = {
        "address": "127.0.0.1",
        "port": str(port),
        "max_tasks": str(FLOWER_TASKS),
        "purge_offline_workers": str(FLOWER_PURGE),
    }
    argv = (*_PYTHON, "flower", "flower", *(f"--{name}={value}" for name, value in options.items()))
    env = {"FLOWER_BASIC_AUTH": f"{user}:{password}", "CELERY_BROKER_URL": broker}

    async def ready() -> bool:
        return await _serves(port, "/healthcheck")

    # In the home, because Flower and Celery run a flowerconfig.py or celeryconfig.py of the working folder.
    return Service("flower", argv, Stage.COMPANION, ready, env=env, folder=settings.home)


def worker(
    settings: Settings,
    name: str,
    *,
    broker: str,
    flowise: str | None,
    queues: Sequence[str],
    events: bool,
    metrics_port: int | None,
) -> Service:
    """Return a worker of the given queues, or of all that the catalog knows when there are none."""
    told = settings.home.absolute() / "logs" / f"{name}.ready"
    argv = [*_PYTHON, "workers", "--name", name, "--ready-file", str(told)]
    argv += ["--queues", ",".join(queues)] if queues else []
    argv += ["--events"] if events else []
    env = {"FLYWHEEL_REDIS_URL": broker, **({"FLYWHEEL_FLOWISE_BASE_URL": flowise} if flowise else {})}
    env["FLYWHEEL_METRICS_PORT"] = "" if metrics_port is None else str(metrics_port)
    told.unlink(missing_ok=True)

    async def ready() -> bool:
        return told.exists()

    # It needs its own grace, and a little to say goodbye.
    grace = settings.grace + timedelta(seconds=5)
    return Service(name, tuple(argv), Stage.WORKER, ready, env=env, grace=grace)


async def _serves(port: int, path: str) -> bool:
    """Return whether an HTTP server on this port answers ``path`` with success."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
                status = await reader.readline()
            finally:
                writer.close()
            return status.split(b" ")[1:2] == [b"200"]
    return False
