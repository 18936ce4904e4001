"""What one HTTP connection may take: a bounded number of them, and each only so long without a request."""

from __future__ import annotations

import asyncio
import resource
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Connections at once. Beyond, those that have waited longest for a request are closed.
MOST_CONNECTIONS = 4_000
#: Seconds from the opening of a connection, or the end of a request, to the whole head of the next.
PATIENCE = 15.0
#: File descriptors that are no clients': the broker's, Flowise's, files.
_OTHER_FILES = 256


def room_for_connections() -> int:
    """Return how many connections there can be, after asking the system for as many files as it lets us have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + _OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return max(1, min(MOST_CONNECTIONS, soft - _OTHER_FILES))


class ClientConnection(HttpToolsProtocol):
    """One client's connection."""

    #: How many there may be; set when the server starts.
    most = MOST_CONNECTIONS
    #: Those without a request, the longest first.
    _idle: dict[ClientConnection, None] = {}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._impatience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room for it where there is none."""
        super().connection_made(transport)
        self._await_request()
        if len(self.connections) > self.most:
            next(iter(self._idle)).transport.close()

    def on_headers_complete(self) -> None:
        """A request is here."""
        self._leave_idle()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Wait for the next one, if none came already."""
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._leave_idle()
        super().connection_lost(exc)

    def _await_request(self) -> None:
        self._leave_idle()
        self._idle[self] = None
        self._impatience = self.loop.call_later(PATIENCE, self.transport.close)

    def _leave_idle(self) -> None:
        self._idle.pop(self, None)
        if self._impatience is not None:
            self._impatience.cancel()
            self._impatience = None
