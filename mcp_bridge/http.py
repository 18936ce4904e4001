"""Serve over streamable HTTP: on loopback, or beyond it with tokens; Host, Origin, sizes and rates are checked."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence

import uvicorn
from mcp.server.auth.settings import AuthSettings
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import AnyHttpUrl
from starlette.types import ASGIApp

from agentic_flywheel.errors import InvalidSetting
from mcp_bridge.bridge import Bridge
from mcp_bridge.limits import RateLimit
from mcp_bridge.owners import Tokens
from mcp_bridge.server import build_server

PATH = "/mcp"
MAX_BODY = 4 * 2**20
#: Sessions of the protocol's older revisions that are open at once.
MAX_SESSIONS = 5_000
#: Seconds that open streams have when the server is told to stop.
GOODBYE = 2

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def is_loopback(host: str) -> bool:
    """Return whether a host can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def build_app(bridge: Bridge, tokens: Tokens, *, host: str, port: int, allowed: Sequence[str] = ()) -> ASGIApp:
    """Return the ASGI application. ``allowed``: further names under which clients may reach it.

    Raises InvalidSetting where it would be open to the network without a token.
    """
    if not is_loopback(host) and not tokens:
        raise InvalidSetting(
            "FLYWHEEL_MCP_TOKENS",
            f"listening at {host} needs a token for everybody who may call; only loopback does not",
        )
    names = [*_LOOPBACK, *allowed, *([] if is_loopback(host) or host in ("0.0.0.0", "::") else [host])]
    hosts = [each for name in names for each in (name, f"{name}:*")]
    security = TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=hosts,
        allowed_origins=[f"{scheme}://{each}" for scheme in ("http", "https") for each in hosts],
    )
    address = AnyHttpUrl(f"http://{f'[{host}]' if ':' in host else host}:{port}")
    auth = AuthSettings(issuer_url=address, resource_server_url=None, validate_token_resource=False)
    app = build_server(bridge).streamable_http_app(
        streamable_http_path=PATH,
        max_request_body_size=MAX_BODY,
        max_sessions=MAX_SESSIONS,
        transport_security=security,
        host=host,
        auth=auth if tokens else None,
        token_verifier=tokens if tokens else None,
    )
    return RateLimit(app, tokens, bridge.settings.mcp_rate)


async def serve(
    bridge: Bridge, tokens: Tokens, *, host: str, port: int, allowed: Sequence[str], ready: Callable[[str], None]
) -> None:
    """Serve until SIGTERM or Ctrl-C. ``port`` 0 takes a free one; ``ready`` is told the address.

    Raises InvalidSetting where the address cannot be had.
    """
    listener = _bound(host, port)
    port = listener.getsockname()[1]
    app = build_app(bridge, tokens, host=host, port=port, allowed=allowed)
    config = uvicorn.Config(
        app,
        # The other parser leaves white space at the end of header values, which MCP compares.
        http="h11",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GOODBYE,
    )
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}{PATH}"
    await _Server(config, lambda: ready(address)).serve(sockets=[listener])


class _Server(uvicorn.Server):
    """Tells when it serves."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as refused:
        listener.close()
        raise InvalidSetting("--http", f"cannot listen at {host}:{port}: {refused.strerror or refused}") from None
    return listener
