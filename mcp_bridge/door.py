"""What an HTTP request passes before the protocol: its path, its token, its rate, and whether it needs a stream."""

from __future__ import annotations

import json
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser, RequireAuthMiddleware
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agentic_flywheel.errors import TooManyCalls
from mcp_bridge.limits import Rates
from mcp_bridge.owners import Tokens

PATH = "/mcp"
MAX_BODY = 4 * 2**20
#: Sessions of the protocol's older revisions that are open at once.
MAX_SESSIONS = 5_000

#: Where the routing headers of 2026-07-28 name one of these, the answer comes at once, in one piece. A stream costs
#: twice as much, and is for what takes its time, tells progress, or ends when its client leaves.
_AT_ONCE = frozenset({"tools/list", "resources/list", "resources/read", "prompts/list", "prompts/get", "tasks/get"})
#: Words of a body that ask for a stream in any case.
_ASKS_FOR_STREAM = (b'"progressToken"', b'"wait_s"')


class Door:
    """The ASGI application of one server."""

    def __init__(
        self,
        server: Server[Any],
        tokens: Tokens,
        *,
        rate: float,
        security: TransportSecuritySettings,
        at_once: frozenset[str],
    ) -> None:
        """``at_once``: the tools that answer without waiting, unless they are told to wait."""
        self._tokens, self._rates, self._at_once = tokens, Rates(rate), at_once
        self._streaming = StreamableHTTPSessionManager(
            server, security_settings=security, max_request_body_size=MAX_BODY, max_sessions=MAX_SESSIONS
        )
        self._plain = StreamableHTTPSessionManager(
            server, security_settings=security, max_request_body_size=MAX_BODY, json_response=True, stateless=True
        )
        guarded: ASGIApp = AuthContextMiddleware(RequireAuthMiddleware(self._choose, []))
        self._inside = guarded if tokens else self._choose

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Serve while the block runs."""
        # What streams ends first: a call that is cut there still has a query to cancel.
        async with self._plain.run(), self._streaming.run():
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH:
            await PlainTextResponse("Not Found", 404)(scope, receive, send)
            return
        # RFC 9110, 5.5: white space around a header's value is none of it. Not every parser takes it away.
        scope["headers"] = [(name, value.strip()) for name, value in scope["headers"]]
        access = await self._tokens.verify_token(bearer_of(scope)) if self._tokens else None
        if access is not None:
            refusal = self._rates.refusal(access.client_id, time.monotonic())
            if refusal is not None:
                await _refused(refusal)(scope, receive, send)
                return
            scope["user"] = AuthenticatedUser(access)
        await self._inside(scope, receive, send)

    async def _choose(self, scope: Scope, receive: Receive, send: Send) -> None:
        first = await receive()
        whole = scope["method"] == "POST" and not first.get("more_body", False)
        plain = whole and self._is_answered_at_once(scope["headers"], first.get("body", b""))
        chosen = self._plain if plain else self._streaming
        await chosen.handle_request(scope, _again(first, receive), send)

    def _is_answered_at_once(self, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
        named = {name: value.decode("latin-1") for name, value in headers if name.startswith(b"mcp-")}
        if named.get(b"mcp-protocol-version") not in MODERN_PROTOCOL_VERSIONS:
            return False
        method = named.get(b"mcp-method", "")
        if method != "tools/call":
            return method in _AT_ONCE
        return named.get(b"mcp-name", "") in self._at_once and not any(each in body for each in _ASKS_FOR_STREAM)


def _again(first: Message, receive: Receive) -> Receive:
    """Return ``receive`` with a message that was looked at put back."""
    waiting = [first]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay


def bearer_of(scope: Scope) -> str:
    """Return the bearer token of a request; empty where there is none."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            kind, _, token = value.decode("latin-1").partition(" ")
            return token.strip() if kind.lower() == "bearer" else ""
    return ""


def _refused(error: TooManyCalls) -> Response:
    told = error.describe().model_dump(mode="json")
    body = {"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": error.message, "data": told}}
    seconds = str(max(1, math.ceil(error.seconds)))
    return Response(json.dumps(body), 429, {"Retry-After": seconds}, "application/json")
