"""The commands that start the sandbox, Flower, the HTTP gateway and the workers."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Sequence

from agentic_flywheel.registry import find_registry
from agentic_flywheel.settings import Settings
from producer.stack.processes import Service, Stage

#: With ``-P``, a folder named `workers` in the user's working folder is not run in place of ours.
_PYTHON = (sys.executable, "-P", "-m")


def sandbox(port: int) -> Service:
    """Return the sandbox, which answers in place of a Flowise whose owner has enabled overriding."""
    argv = (*_PYTHON, "flowise_sandbox", "--port", str(port), "--overrides")

    async def ready() -> bool:
        return await _serves(port, "/api/v1/ping")

    return Service("sandbox", argv, Stage.COMPANION, ready)


def flower(settings: Settings, *, broker: str, port: int, user: str, password: str) -> Service:
    """Return Flower, on loopback and behind a password. It reads the broker and needs no code of the workers.

    Raises InvalidRegistry.
    """
    argv = (*_PYTHON, "producer.stack.flower", "--address=127.0.0.1", f"--port={port}")
    registry = find_registry(settings.registry).absolute()
    env = {
        "FLOWER_BASIC_AUTH": f"{user}:{password}",
        "FLYWHEEL_REDIS_URL": broker,
        "FLYWHEEL_KEY_PREFIX": settings.key_prefix,
        "FLYWHEEL_REGISTRY": str(registry),
    }

    async def ready() -> bool:
        return await _serves(port, "/healthcheck")

    # Started in the home, because Flower and Celery run a flowerconfig.py or celeryconfig.py of their working folder.
    return Service("flower", argv, Stage.COMPANION, ready, env=env, folder=settings.home)


def gateway(settings: Settings, port: int, *, broker: str, flowise: str | None) -> Service:
    """Return the HTTP gateway, on loopback; it lets in who comes with a token, or anybody where there is none."""
    argv = (*_PYTHON, "http_gateway", "--port", str(port))
    env = _places(settings, broker, flowise)

    async def ready() -> bool:
        return await _serves(port, "/healthz")

    return Service("gateway", argv, Stage.COMPANION, ready, env=env)


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
    """Return a worker of these queues, or of every queue of the catalog when none is named."""
    told = settings.home.absolute() / "logs" / f"{name}.ready"
    argv = [*_PYTHON, "workers", "--name", name, "--ready-file", str(told)]
    argv += ["--queues", ",".join(queues)] if queues else []
    argv += ["--events"] if events else []
    env = _places(settings, broker, flowise)
    if settings.flowise_api_key is not None:
        env["FLYWHEEL_FLOWISE_API_KEY"] = settings.flowise_api_key.get_secret_value()
    env["FLYWHEEL_METRICS_PORT"] = "off" if metrics_port is None else str(metrics_port)
    told.unlink(missing_ok=True)

    async def ready() -> bool:
        return told.exists()

    return Service(name, tuple(argv), Stage.WORKER, ready, env=env, grace=settings.grace)


def _places(settings: Settings, broker: str, flowise: str | None) -> dict[str, str]:
    places = {"FLYWHEEL_REDIS_URL": broker, "FLYWHEEL_KEY_PREFIX": settings.key_prefix}
    if settings.registry is not None:
        places["FLYWHEEL_REGISTRY"] = str(settings.registry.absolute())
    return {**places, **({"FLYWHEEL_FLOWISE_BASE_URL": flowise} if flowise else {})}


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
