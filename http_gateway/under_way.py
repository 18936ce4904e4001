"""The requests that one process serves now: when it stops, each is answered or told so, and none is just cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import anyio
from starlette.types import ASGIApp, Receive, Scope, Send

from agentic_flywheel.errors import GatewayStopping

_Found = TypeVar("_Found")

#: Where a route leaves the id of the query for which its request waits.
QUERY = "flywheel.query"
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
        tasks = asyncio.ensure_future(work), asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return tasks[0].result() if tasks[0].done() else None
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def stop(self) -> None:
        """Have those end that only wait, and then what is left."""
        self._stopping.set()
        await asyncio.sleep(GRACE)
        for each in list(self._open):
            each.cancel()


def names_query(scope: Scope, query_id: str) -> None:
    """Note for which query a request waits, so that its client is told where the process stops meanwhile."""
    scope.setdefault(QUERY, {})["id"] = query_id
