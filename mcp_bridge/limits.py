"""How often a token may call: a bucket of calls for each, refilled at a steady rate."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from agentic_flywheel.errors import TooManyCalls
from mcp_bridge.owners import Tokens

#: So many seconds' worth of calls may come at once.
BURST = 2.0


class Bucket:
    """The calls that one owner has left."""

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._size = max(1.0, rate * BURST)
        self._left = self._size
        self._at = now

    def take(self, now: float) -> float:
        """Take one call. Returns 0, or the seconds until there is one."""
        self._left = min(self._size, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left >= 1:
            self._left -= 1
            return 0.0
        return (1 - self._left) / self._rate


class RateLimit:
    """Refuses the calls of a token beyond its rate, before anything else looks at them."""

    def __init__(self, app: ASGIApp, tokens: Tokens, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._app, self._tokens, self._rate, self._clock = app, tokens, rate, clock
        self._buckets: dict[str, Bucket] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        owner = self._tokens.owner_of(bearer_of(scope)) if scope["type"] == "http" else None
        if owner is None:  # whoever has no token is refused, or is the user of this machine
            await self._app(scope, receive, send)
            return
        now = self._clock()
        seconds = self._buckets.setdefault(owner, Bucket(self._rate, now)).take(now)
        if seconds:
            await _refusal(TooManyCalls(owner, self._rate, round(seconds, 3)))(scope, receive, send)
            return
        await self._app(scope, receive, send)


def bearer_of(scope: Scope) -> str:
    """Return the bearer token of a request; empty where there is none."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            kind, _, token = value.decode("latin-1").partition(" ")
            return token.strip() if kind.lower() == "bearer" else ""
    return ""


def _refusal(error: TooManyCalls) -> Response:
    told = error.describe().model_dump(mode="json")
    body = {"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": error.message, "data": told}}
    seconds = str(max(1, math.ceil(error.seconds)))
    return Response(json.dumps(body), 429, {"Retry-After": seconds}, "application/json")
