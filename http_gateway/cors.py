"""Which web pages may use the gateway from a browser (CORS): on every response, errors too."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import Message, Scope, Send

from mcp_bridge.door import header_of

LOOPBACK = ("127.0.0.1", "localhost", "::1")
#: A name or an IPv4 address, or an IPv6 address; then a port. Nothing else may stand there, such as a user.
_HOST = re.compile(rb"([\w.~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?")
#: Seconds for which a browser need not ask again.
_REMEMBERED = "600"
_METHODS = "GET, POST, PUT, DELETE, OPTIONS"
#: What scripts may read of a response beside the usual headers.
_EXPOSED = "Location, Retry-After, WWW-Authenticate, x-request-id"


def origins_of(text: str) -> frozenset[str]:
    """Return the origins that a setting names; `*` stands for all."""
    return frozenset(each.strip().rstrip("/") for each in text.split(",") if each.strip())


def is_of_this_machine(origin: str) -> bool:
    """Return whether an origin is a page that this machine serves."""
    try:
        return urlsplit(origin).hostname in LOOPBACK
    except ValueError:
        return False


def names_host(host: str, allowed: Sequence[str]) -> bool:
    """Return whether a Host header is one of ours: loopback, or one of the allowed names, with any port."""
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    return name in LOOPBACK or name in {each.lower() for each in allowed}


def fault_in_host(scope: Scope) -> str | None:
    """Return why the Host of a request is not acceptable (RFC 9112, 3.2); None: it is."""
    named = [value for name, value in scope["headers"] if name == b"host"]
    if len(named) > 1:
        return "it names more than one Host"
    if not named:
        return None if scope["http_version"] == "1.0" else "it names no Host"
    return None if _HOST.fullmatch(named[0]) else "its Host is neither a name nor an address, with or without a port"


def is_preflight(scope: Scope) -> bool:
    """Return whether a browser asks before it sends a request."""
    return scope["method"] == "OPTIONS" and header_of(scope, b"access-control-request-method") is not None


def preflight(scope: Scope) -> Response:
    """Return what a browser is told before it sends a request; ``sharing`` adds for whom."""
    wanted = header_of(scope, b"access-control-request-headers") or "*"
    return Response(
        status_code=204,
        headers={
            "Access-Control-Allow-Methods": _METHODS,
            "Access-Control-Allow-Headers": wanted.encode("latin-1", "ignore").decode("latin-1"),
            "Access-Control-Max-Age": _REMEMBERED,
        },
    )


def sharing(send: Send, origin: str) -> Send:
    """Return ``send`` that lets pages of an origin read the response."""

    async def shared(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Expose-Headers"] = _EXPOSED
            headers.add_vary_header("Origin")
        await send(message)

    return shared
