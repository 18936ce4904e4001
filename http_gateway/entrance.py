"""What every request passes before its route: origin, token, rate, what is open, and bounds for its body."""

from __future__ import annotations

import logging
import time
from contextlib import AbstractAsyncContextManager, nullcontext

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agentic_flywheel.access.grant import LOCAL_GRANT, Grant
from agentic_flywheel.errors import (
    ErrorInfo,
    FlywheelError,
    InvalidRequest,
    MalformedRequest,
    OriginRefused,
    RequestFailed,
    RequestTooLarge,
    RequestTooSlow,
    TokenNeeded,
)
from agentic_flywheel.uploads import LARGEST, MOST_UPLOADS
from http_gateway.callers import GRANT
from http_gateway.cors import (
    fault_in_host,
    is_of_this_machine,
    is_preflight,
    names_host,
    origins_of,
    preflight,
    sharing,
)
from http_gateway.gateway import Gateway
from http_gateway.laps import RequestTurns
from http_gateway.outgoing import OutgoingResponse
from http_gateway.path_names import routed_path
from http_gateway.problems import status_of
from http_gateway.surfaces import Surface, surface_at
from http_gateway.traffic import Traffic
from mcp_bridge.discretion import outward
from mcp_bridge.door import PATH as MCP
from mcp_bridge.door import TooSlow, bearer_of, fault_in_headers, header_of, in_time
from mcp_bridge.visits import Visits

#: Set in a request whose fault the client was told of and the log has.
TOLD = "flywheel.told"
logger = logging.getLogger(__name__)

#: Answered without a token; they tell nothing of anybody.
OPEN_PATHS = ("/healthz", "/readyz", "/openapi.json", "/docs", "/")
#: Seconds in which a whole body must have come, and one with files.
BODY_TIME, FORM_TIME = 30.0, 600.0
#: Bytes of a form beside its files.
_BESIDE_FILES = 2**20


class Entrance:
    """The ASGI application that is served; ``inside`` has the routes."""

    def __init__(self, inside: ASGIApp, gateway: Gateway, surfaces: tuple[Surface, ...], traffic: Traffic) -> None:
        self._inside, self._gateway, self._surfaces, self._traffic = inside, gateway, surfaces, traffic
        self._origins = origins_of(gateway.settings.http_origins)
        self._turns = RequestTurns()
        self._visits = Visits(gateway.tokens, refusal=self._ended, cut=self._ended)

    def watched(self) -> AbstractAsyncContextManager[None]:
        """End what is open for tokens that are revoked or expire, while the block runs."""
        return self._visits.watched()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"] = routed_path(scope)
        # RFC 9110, 5.5: white space around a header's value is none of it. Not every parser takes it away.
        scope["headers"] = [(name, value.strip()) for name, value in scope["headers"]]
        fault = fault_in_host(scope) or fault_in_headers(scope)
        if path.rstrip("/") == MCP and fault is None:
            await self._gateway.mcp(scope, receive, send)
            return
        if head_only := scope["method"] == "HEAD":
            # What a GET says before its body. The server's own scope stays: it sends no body.
            scope = {**scope, "method": "GET"}
        surface = surface_at(path, self._surfaces)
        origin = header_of(scope, b"origin")
        if origin is not None and self._shares(surface, scope, origin):
            send = sharing(send, origin)
        with self._traffic.request(surface.name) as counted:
            sending = OutgoingResponse(send, head_only=head_only)
            try:
                if fault is not None:
                    raise MalformedRequest(fault)
                await self._served(surface, origin, scope, receive, sending)
            except Exception as failure:
                if not scope.get(TOLD):
                    await self._tell(surface, self._info_of(failure, path), scope, receive, sending)
            finally:
                counted.status = sending.status

    async def _served(self, surface: Surface, origin: str | None, scope: Scope, receive: Receive, send: Send) -> None:
        if origin is not None and is_preflight(scope):
            await preflight(scope)(scope, receive, send)
        elif scope["path"] in OPEN_PATHS:
            await self._inside(scope, receive, send)
        else:
            await self._turns.turn()
            await self._admitted(surface, scope, receive, send)

    async def _admitted(self, surface: Surface, scope: Scope, receive: Receive, send: Send) -> None:
        grant = self._grant_of(surface, scope)
        owner = grant.owner if grant is not None and grant.token_id else None
        with self._gateway.opened.one_more(owner) if owner is not None else nullcontext():
            if owner is not None and (refused := self._gateway.rates.refusal(owner, time.monotonic())) is not None:
                raise refused
            scope[GRANT] = grant
            bounded = self._bounded(surface, scope, receive)
            if grant is None:
                await self._kept(scope, bounded, send)
            else:
                await self._visits.visit(grant.token_id, self._kept, scope, bounded, send)

    async def _kept(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._gateway.under_way.serve(self._inside, scope, receive, send)

    def _grant_of(self, surface: Surface, scope: Scope) -> Grant | None:
        """Return what the request may do; None for a visitor. Raises TokenNeeded, OriginRefused."""
        if self._gateway.tokens.needed:
            grant = self._gateway.tokens.find(bearer_of(scope))
            if grant is None and not surface.lets_in(self._gateway, scope):
                raise TokenNeeded
            return grant
        # Whoever needs no token must not be a web page that this machine's browser happens to show, nor one whose
        # server has had its name stand for this machine.
        origin, host = header_of(scope, b"origin"), header_of(scope, b"host")
        if host is None:
            raise MalformedRequest("it names no Host")
        if not names_host(host, self._gateway.allowed):
            raise OriginRefused(host[:200])
        if origin is not None and not self._shares(surface, scope, origin):
            raise OriginRefused(origin[:200])
        return LOCAL_GRANT

    def _shares(self, surface: Surface, scope: Scope, origin: str) -> bool:
        """Whether pages of an origin may use the surface. All of them only where a token is needed too."""
        return (
            origin in self._origins
            or is_of_this_machine(origin)
            or ("*" in self._origins and self._gateway.tokens.needed)
            or surface.admits(self._gateway, scope, origin)
        )

    def _bounded(self, surface: Surface, scope: Scope, receive: Receive) -> Receive:
        """Return ``receive`` with limits on the time and the bytes of the body. It raises what a client is told."""
        if (header_of(scope, b"content-encoding") or "identity").lower() != "identity":
            raise InvalidRequest("Content-Encoding", "a body is taken as it is, not compressed")
        form = surface.takes_form is not None and surface.takes_form.fullmatch(scope["path"].rstrip("/")) is not None
        form = form and (header_of(scope, b"content-type") or "").lower().startswith("multipart/form-data")
        most = MOST_UPLOADS * LARGEST + _BESIDE_FILES if form else surface.most_body
        seconds = FORM_TIME if form else BODY_TIME
        announced = header_of(scope, b"content-length") or "0"
        if announced.isdigit() and int(announced[:20]) > most:
            raise RequestTooLarge(most)
        timed, came = in_time(receive, seconds), 0

        async def bounded() -> Message:
            nonlocal came
            try:
                message = await timed()
            except TooSlow:
                raise RequestTooSlow(seconds) from None
            came += len(message.get("body", b""))
            if came > most:
                raise RequestTooLarge(most)
            return message

        return bounded

    def _info_of(self, failure: Exception, path: str) -> ErrorInfo:
        if isinstance(failure, FlywheelError):
            return outward(failure)
        info = outward(RequestFailed(path[:200]))
        logger.error("%s failed, error_id %s", path, info.error_id, exc_info=failure)
        return info

    async def _tell(
        self, surface: Surface, info: ErrorInfo, scope: Scope, receive: Receive, sending: OutgoingResponse
    ) -> None:
        """Say what ended a request. What is neither new nor a stream is left as it is: the server breaks the
        connection, so that nobody takes the part that came for the whole."""
        if not sending.status:
            await surface.refusal(info, status_of(info))(scope, receive, sending)
        elif sending.streams and not sending.whole:
            await sending.end(surface.cut(info, scope))

    async def _ended(self, scope: Scope, receive: Receive, send: Send) -> None:
        """End a request whose token has ended, begun or not."""
        raise TokenNeeded
