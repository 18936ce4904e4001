"""The requests that one process serves now: when it stops, each is answered or told so, and none is just cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from agentic_flywheel.errors import GatewayStopping

_Found = TypeVar("_Found")

#: Where a route leaves the id of the query for which its request waits.
QUERY = "flywheel.query"
#: The response to a client that went away before it was answered. Nobody reads it.
GONE = Response(status_code=499)
#: Seconds that requests have to end by themselves; the server then waits a while longer for what they are told.
GRACE = 0.5


class UnderWay:
    """What is under way in one process."""

    def __init__(self) -> None:
        self._open = set[anyio.CancelScope]()
        self._stopping = asyncio.Event()

    async def serve(self, inside: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request. Raises GatewayStopping where the process stops before it is done."""
        # A dictionary of its own: the framework copies the scope, and the route's part of it with it.
        noted = scope.setdefault(QUERY, {})
        if self._stopping.is_set():
            raise GatewayStopping
        with anyio.CancelScope() as cut:
            self._open.add(cut)
            try:
                await inside(scope, receive, send)
            finally:
                self._open.discard(cut)
        if cut.cancelled_caught:
            raise GatewayStopping(noted.get("id", ""))

    async def until_stop(self, work: Coroutine[Any, Any, _Found]) -> _Found | None:
        """Return what comes of work; None as soon as the process is to stop."""
        return await _before(self._stopping.wait(), work)

    async def stop(self) -> None:
        """Have those end that only wait, and then what is left."""
        self._stopping.set()
        await asyncio.sleep(GRACE)
        for each in list(self._open):
            each.cancel()


async def until_gone(request: Request, work: Coroutine[Any, Any, _Found]) -> _Found | None:
    """Return what comes of work; None as soon as the client has gone away."""
    return await _before(_gone(request), work)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _before(end: Coroutine[Any, Any, object], work: Coroutine[Any, Any, _Found]) -> _Found | None:
    """Return what comes of work; None where ``end`` is there first."""
    working, ending = asyncio.ensure_future(work), asyncio.ensure_future(end)
    try:
        await asyncio.wait((working, ending), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for each in (working, ending):
            each.cancel()
        await asyncio.gather(working, ending, return_exceptions=True)


def names_query(scope: Scope, query_id: str) -> None:
    """Note for which query a request waits, so that its client is told where the process stops meanwhile."""
    scope.setdefault(QUERY, {})["id"] = query_id
