"""Serve over streamable HTTP: on loopback, or beyond it with tokens; Host, Origin, sizes and rates are checked."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence

import uvicorn
from mcp.server.transport_security import TransportSecuritySettings

from agentic_flywheel.access.tokens import Tokens
from agentic_flywheel.errors import CannotListen, InvalidSetting
from mcp_bridge.bridge import Bridge
from mcp_bridge.connections import ClientConnection, room_for_connections
from mcp_bridge.door import PATH, Door
from mcp_bridge.server import build_server

#: Seconds that open streams have when the server is told to stop.
GOODBYE = 2

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_ANYWHERE = ("0.0.0.0", "::")


def is_loopback(host: str) -> bool:
    """Return whether a host can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def build_door(bridge: Bridge, tokens: Tokens, *, host: str, allowed: Sequence[str] = ()) -> Door:
    """Return the ASGI application. ``allowed``: further names under which clients may reach it.

    Raises InvalidSetting where it would be open to the network without a token.
    """
    if not is_loopback(host) and not tokens.needed:
        raise InvalidSetting(
            "FLYWHEEL_TOKENS_FILE",
            f"listening at {host} needs a token for everybody who may call (`flywheel tokens new`); only loopback does "
            "not",
        )
    names = [*_LOOPBACK, *allowed, *([] if is_loopback(host) or host in _ANYWHERE else [host])]
    hosts = [each for name in names for each in (name, f"{name}:*")]
    return Door(
        build_server(bridge),
        tokens,
        ended=bridge.end_for,
        rate=bridge.settings.mcp_rate,
        most=bridge.settings.mcp_open,
        security=TransportSecuritySettings(
            enable_dns_rebinding_protection=True,
            allowed_hosts=hosts,
            allowed_origins=[f"{scheme}://{each}" for scheme in ("http", "https") for each in hosts],
        ),
    )


async def serve(
    bridge: Bridge, tokens: Tokens, *, host: str, port: int, allowed: Sequence[str], ready: Callable[[str], None]
) -> None:
    """Serve until SIGTERM or Ctrl-C. ``port`` 0 takes a free one; ``ready`` is told the address.

    Raises CannotListen.
    """
    door = build_door(bridge, tokens, host=host, allowed=allowed)
    listener = bound(host, port)
    ClientConnection.most = room_for_connections()
    config = uvicorn.Config(
        door,
        lifespan="off",
        http=ClientConnection,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GOODBYE,
    )
    address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}{PATH}"
    async with door.open():
        await TellingServer(config, lambda: ready(address)).serve(sockets=[listener])


class TellingServer(uvicorn.Server):
    """Tells when it serves."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()


def bound(host: str, port: int, option: str = "--http") -> socket.socket:
    """Return a socket that listens there. Raises CannotListen, which names the ``option`` or the command."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as refused:
        listener.close()
        raise CannotListen(option, f"{host}:{port}: {refused.strerror or refused}") from None
    return listener
