"""How far the response to a request has come: what a failure can still say depends on it."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import Message, Send


class OutgoingResponse:
    """Sends one response, and knows how far it is."""

    def __init__(self, send: Send, *, head_only: bool = False) -> None:
        """``head_only``: the response to HEAD, whose body is not asked for."""
        self._send, self._head_only = send, head_only
        #: The status, once the response has begun.
        self.status = 0
        #: Whether it is a stream of events, which can say in its last frame that it was cut.
        self.streams = False
        self.whole = False

    async def __call__(self, message: Message) -> None:
        """Send a message of the response."""
        if self._head_only and self.whole:
            return
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.streams = Headers(raw=message["headers"]).get("content-type", "").startswith("text/event-stream")
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            self.whole = True
        await self._send(message)
        if self._head_only and not self.whole:
            # A stream would go on until its client goes away.
            await self.end(b"")

    async def end(self, last: bytes) -> None:
        """End a stream of events with these frames."""
        self.whole = True
        await self._send({"type": "http.response.body", "body": last})
