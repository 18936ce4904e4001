"""Serve the gateway with uvicorn: bounded connections, each only so long without a request."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import uvicorn

from http_gateway.app import build_app
from http_gateway.connection import GatewayConnection
from http_gateway.entrance import Entrance
from http_gateway.gateway import Gateway
from mcp_bridge.connections import ClientConnection, room_for_connections
from mcp_bridge.http import GOODBYE, TellingServer, bound


async def serve(gateway: Gateway, *, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C. ``port`` 0 takes a free one; ``ready`` is told the address.

    Raises CannotListen where the address cannot be had.
    """
    listener = bound(host, port, "flywheel serve")
    ClientConnection.most = room_for_connections()
    app = build_app(gateway)
    entrance: Entrance = app.state.entrance
    config = uvicorn.Config(
        entrance,
        lifespan="off",
        http=GatewayConnection,
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=GOODBYE,
    )
    address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    async with gateway.open(), entrance.watched():
        await _GatewayServer(config, gateway, lambda: ready(address)).serve(sockets=[listener])


class _GatewayServer(TellingServer):
    """Tells whoever waits that it stops."""

    def __init__(self, config: uvicorn.Config, gateway: Gateway, ready: Callable[[], None]) -> None:
        super().__init__(config, ready)
        self._under_way = gateway.under_way

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        stopping = asyncio.create_task(self._under_way.stop())
        await super().shutdown(sockets)
        await stopping
