"""What is open for each token: requests, streams and sessions. They end when the token lets nobody in any more."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agentic_flywheel.access.tokens import Tokens
from mcp_bridge.scoped_body import unauthorized
from mcp_bridge.sessions import Sessions

logger = logging.getLogger(__name__)

#: Seconds between two looks at the tokens of what is open.
LOOK_EVERY = 0.25


class Visits:
    """The open requests of one door, by the id of their token."""

    def __init__(
        self,
        tokens: Tokens,
        sessions: Sessions | None = None,
        ended: Callable[[str], None] = lambda _: None,
        *,
        refusal: ASGIApp | None = None,
        cut: ASGIApp | None = None,
    ) -> None:
        """``ended`` is told the id of each token that lets nobody in any more. ``refusal``: what answers a request
        whose token has ended before its response began. ``cut``: what ends one that had begun.
        """
        self._tokens, self._sessions, self._ended = tokens, sessions, ended
        self._refusal, self._cut = refusal or unauthorized(), cut or _end
        self._open: defaultdict[str, set[anyio.CancelScope]] = defaultdict(set)

    async def visit(self, token_id: str, serve: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, for as long as its token holds."""
        begun = whole = False

        async def told(message: Message) -> None:
            nonlocal begun, whole
            begun = True
            whole = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        cut = anyio.CancelScope()
        self._open[token_id].add(cut)
        try:
            with cut:
                await serve(scope, receive, told)
        finally:
            self._open[token_id].discard(cut)
            if not self._open[token_id]:
                del self._open[token_id]
        if cut.cancelled_caught and not begun:
            await self._refusal(scope, receive, send)
        elif cut.cancelled_caught and not whole:
            await self._cut(scope, receive, send)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """End what is open for tokens that are revoked or expire, while the block runs."""
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                for token_id in {*self._open, *(self._sessions.token_ids if self._sessions else ())}:
                    if not self._tokens.holds(token_id):
                        await self._end(token_id)
            except Exception:  # a fault here must not leave the next revoked token in
                logger.exception("looking at the tokens failed")

    async def _end(self, token_id: str) -> None:
        logger.info("token %s lets nobody in any more: what was open for it ends", token_id or "(none)")
        self._ended(token_id)
        for cut in list(self._open.get(token_id, ())):
            cut.cancel()
        if self._sessions is not None:
            await self._sessions.end_for(token_id)


async def _end(scope: Scope, receive: Receive, send: Send) -> None:
    """End a response that had begun. A client of MCP knows by the answer that is missing that it was cut."""
    await send({"type": "http.response.body", "body": b""})
