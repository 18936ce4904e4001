"""What an HTTP request passes before the protocol: path, token, user, rate, scope, what is open, the time for it."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import Any

from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.lowlevel import Server
from mcp.server.transport_security import TransportSecuritySettings
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agentic_flywheel.access.grant import LOCAL_GRANT, Grant
from agentic_flywheel.access.tokens import Tokens
from agentic_flywheel.errors import InvalidQuery, TooManyCalls, TooManyOpen
from agentic_flywheel.errors.wording import Wording
from agentic_flywheel.given import asker_of
from mcp_bridge.limits import Open, Rates
from mcp_bridge.owners import USER_HEADER, access_of
from mcp_bridge.scoped_body import refused_body, unauthorized
from mcp_bridge.sessions import sessions_of
from mcp_bridge.visits import Visits

PATH = "/mcp"
#: Who asks, for whom, and what it is: of two values one would be passed over, and a proxy may have added the other.
_ONCE = (
    *(b"authorization", b"origin", b"content-type", USER_HEADER, b"flywheel-session", b"idempotency-key"),
    *(b"last-event-id", b"x-openwebui-user-id", b"x-openwebui-chat-id", b"x-stainless-retry-count"),
)
#: Answers while the bridge serves; needs no token and tells nothing else.
HEALTH = "/healthz"
#: Seconds in which a request's body must have come.
BODY_TIME = 30.0


class Door:
    """The ASGI application of one server."""

    def __init__(
        self,
        server: Server[Any],
        tokens: Tokens,
        *,
        ended: Callable[[str], None],
        rate: float,
        most: int,
        security: TransportSecuritySettings,
    ) -> None:
        """``ended`` is told the id of each token that lets nobody in any more."""
        self._tokens, self._rates, self._open = tokens, Rates(rate), Open("requests and streams", most)
        self._sessions = sessions_of(server, security)
        self._visits = Visits(tokens, self._sessions, ended)
        self._inside: ASGIApp = AuthContextMiddleware(self._sessions.handle_request)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Serve while the block runs."""
        async with self._sessions.run(), self._visits.watched():
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].rstrip("/") if scope["type"] == "http" else ""
        if path == HEALTH:
            await JSONResponse({"status": "ok"})(scope, receive, send)
            return
        if path != PATH:
            await PlainTextResponse("Not Found", 404)(scope, receive, send)
            return
        # RFC 9110, 5.5: white space around a header's value is none of it. Not every parser takes it away.
        scope["headers"] = [(name, value.strip()) for name, value in scope["headers"]]
        if (fault := fault_in_headers(scope)) is not None:
            await _refused(InvalidQuery("headers", fault))(scope, receive, send)
            return
        grant = self._tokens.find(bearer_of(scope)) if self._tokens.needed else LOCAL_GRANT
        if grant is None:
            await unauthorized()(scope, receive, send)
            return
        try:
            with self._open.one_more(grant.owner) if grant.token_id else nullcontext():
                self._admit(grant, scope)
                await self._visits.visit(grant.token_id, partial(self._serve, grant), scope, in_time(receive), send)
        except _Refusal as refused:
            await _refused(refused.error)(scope, receive, send)
        except TooManyOpen as refused:
            await _refused(refused)(scope, receive, send)
        except TooSlow:
            await PlainTextResponse("Request Timeout", 408, {"Connection": "close"})(scope, receive, send)

    def _admit(self, grant: Grant, scope: Scope) -> None:
        """Say in the request whose it is. Raises _Refusal."""
        try:
            asker = asker_of(grant.owner, header_of(scope, USER_HEADER))
        except InvalidQuery as refused:
            raise _Refusal(refused) from None
        if grant.token_id and (refusal := self._rates.refusal(grant.owner, time.monotonic())) is not None:
            raise _Refusal(refusal)
        # Without a token and a name the bridge says who calls.
        if grant.token_id or asker.user is not None:
            scope["user"] = AuthenticatedUser(access_of(grant, asker.user))

    async def _serve(self, grant: Grant, scope: Scope, receive: Receive, send: Send) -> None:
        refusal, receive = await refused_body(grant, scope, receive)
        await (self._inside if refusal is None else refusal)(scope, receive, send)


class _Refusal(Exception):
    """A request is not let in."""

    def __init__(self, error: InvalidQuery | TooManyCalls) -> None:
        super().__init__(error)
        self.error = error


class TooSlow(Exception):
    """A request's body did not come in time."""


def in_time(receive: Receive, seconds: float | None = None) -> Receive:
    """Return ``receive`` with a limit on the time for the whole body, ``BODY_TIME`` by default; then there is none.

    What it returns raises TooSlow.
    """
    deadline, whole = time.monotonic() + (BODY_TIME if seconds is None else seconds), False

    async def limited() -> Message:
        nonlocal whole
        if whole:
            return await receive()
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                message = await receive()
        except TimeoutError:
            raise TooSlow from None
        whole = not message.get("more_body", False)
        return message

    return limited


def header_of(scope: Scope, named: bytes) -> str | None:
    """Return the first value of a header; None where there is none. It is UTF-8, or refused later."""
    found = next((value for name, value in scope["headers"] if name == named), None)
    return None if found is None else found.decode("utf-8", "surrogateescape")


def fault_in_headers(scope: Scope) -> str | None:
    """Return why the headers of a request cannot be understood in one way only; None: they can."""
    seen = set[bytes]()
    for name, value in scope["headers"]:
        if name not in _ONCE:
            continue
        if name in seen:
            return f"it has the header {name.decode()} more than once"
        seen.add(name)
        try:
            value.decode()
        except UnicodeDecodeError:
            return f"its header {name.decode()} is not in UTF-8"
    return None


def bearer_of(scope: Scope) -> str:
    """Return the bearer token of a request; empty where there is none."""
    kind, _, token = (header_of(scope, b"authorization") or "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _refused(error: InvalidQuery | TooManyCalls | TooManyOpen) -> Response:
    shown = error.describe().worded(Wording.MCP).model_dump(mode="json")
    body = {"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": error.message, "data": shown}}
    if isinstance(error, InvalidQuery):
        return Response(json.dumps(body), 400, media_type="application/json")
    seconds = str(max(1, math.ceil(error.retry_after)))
    return Response(json.dumps(body), 429, {"Retry-After": seconds}, "application/json")
