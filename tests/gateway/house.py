"""A house with the HTTP gateway at its door: broker, sandbox Flowise, worker, and the gateway as a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from bridge_house import ALICE, BOB, REGISTRY, TOKENS
from door_house import DoorHouse
from pipeline.house import House
from processes import free_port

from agentic_flywheel.access.environment import read_tokens
from agentic_flywheel.settings import Settings
from http_gateway import entrance, streams
from http_gateway.app import build_app
from http_gateway.connection import GatewayConnection
from http_gateway.gateway import Gateway
from mcp_bridge import connections

__all__ = ["ALICE", "BOB", "CREATIVE", "TOKENS", "GatewayHouse", "frames_of", "gateway_client", "served"]


#: The sandbox's flow `creative-orientation`.
CREATIVE = "7d405a51-968d-4467-9ae6-d49bf182cdf9"


class GatewayHouse(DoorHouse):
    """A house, and how to reach it over HTTP."""

    def __init__(self, folder: Path, *, registry: str = REGISTRY) -> None:
        super().__init__(folder, registry=registry)

    def gateway(self, *options: str, port: int = 0, **env: str) -> str:
        """Start a gateway; return its address once it serves."""
        return self.opened("gateway", "http_gateway", "--port", str(port), *options, **env)


@asynccontextmanager
async def served(
    house: House,
    monkeypatch: pytest.MonkeyPatch,
    *,
    allowed: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    started_with: Settings | None = None,
    **limits: float,
) -> AsyncIterator[int]:
    """Serve a gateway in this process, with settings and limits of the test's; yield its port."""
    for name, value in limits.items():
        module = next(each for each in (connections, entrance, streams) if hasattr(each, name))
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(connections.ClientConnection, "most", int(limits.get("MOST_CONNECTIONS", 100)))
    port = free_port()
    given = started_with or house.settings.model_copy(update=settings or {})
    gateway = Gateway(given, read_tokens(given), allowed=allowed)
    app = build_app(gateway)
    config = uvicorn.Config(
        app.state.entrance,
        http=GatewayConnection,
        port=port,
        ws="none",
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    async with gateway.open(), app.state.entrance.watched():
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.02)
        try:
            yield port
        finally:
            server.should_exit = True
            await serving


@asynccontextmanager
async def gateway_client(
    url: str, token: str | None = ALICE, user: str | None = None
) -> AsyncIterator[httpx2.AsyncClient]:
    """Yield an HTTP client of a gateway, for an owner's token and one of its users."""
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    headers |= {"Flywheel-User": user} if user is not None else {}
    async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=60) as http:
        yield http


async def frames_of(response: httpx2.Response) -> AsyncIterator[dict[str, Any]]:
    """Yield the frames of server-sent events: `event`, `id`, `data` and `retry`, those that there are."""
    frame: dict[str, Any] = {}
    async for line in response.aiter_lines():
        if not line:
            if frame:
                yield frame
            frame = {}
        elif line.startswith(":"):
            frame["comment"] = line[1:].strip()
        else:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            frame[name] = f"{frame[name]}\n{value}" if name == "data" and name in frame else value
