"""What HTTP connections may take: how many there are, how long one waits for a request, how large its head is."""

from __future__ import annotations

import asyncio
import re
import resource
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Connections at once. Beyond, those that have waited longest for a request are closed.
MOST_CONNECTIONS = 4_000
#: Seconds from the opening of a connection, or the end of a request, to the whole head of the next.
PATIENCE = 15.0
#: Bytes of one request's head.
LARGEST_HEAD = 65_536
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


class _OpenUntilRead:
    """The transport of a request after which its client wants the connection closed.

    To close it while the body still comes would reset it, and the client would not see why it was refused.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._to_close = False

    def write(self, data: bytes) -> None:
        self._connection.transport.write(data)

    def is_closing(self) -> bool:
        return self._connection.transport.is_closing()

    def close(self) -> None:
        """Close once the body has come; what does not come in time, the connection's patience ends."""
        self._to_close = True
        if not self._connection.in_body:
            self._connection.transport.close()

    def read(self) -> None:
        """The body has come."""
        if self._to_close:
            self._connection.transport.close()


class ClientConnection(HttpToolsProtocol):
    """One client's connection."""

    #: How many there may be; set when the server starts.
    most = MOST_CONNECTIONS
    #: Those without a request, the longest first.
    _idle: dict[ClientConnection, None] = {}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._impatience: asyncio.TimerHandle | None = None
        #: Bytes of a head that has not come whole.
        self._head = 0
        #: Whether a body is still coming, be it one that was answered already.
        self.in_body = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room for it where there is none."""
        super().connection_made(transport)
        self._await_request()
        if len(self.connections) > self.most:
            next(iter(self._idle)).transport.close()

    def data_received(self, data: bytes) -> None:
        """Refuse a head that is too large: the parser would keep all of it."""
        # The end of a body that was answered early is no head.
        within = self.in_body
        super().data_received(data)
        if self in self._idle and not within and not self.in_body:
            self._head += len(data)
            if self._head > LARGEST_HEAD and not self.transport.is_closing():
                self.refuse_head()

    def refuse_head(self) -> None:
        """Say that a head is too large, and end the connection."""
        self.transport.write(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        self.transport.close()

    def on_headers_complete(self) -> None:
        """A request is here."""
        self._leave_idle()
        self.in_body = True
        self._name_target()
        super().on_headers_complete()
        if not self.cycle.keep_alive:
            self.cycle.transport = _OpenUntilRead(self)  # type: ignore[assignment]

    def _name_target(self) -> None:
        """RFC 9112, 3.2.2: where the request line holds a whole address, its host counts, and not the header."""
        address = self.url.partition(b"://")[2] if not self.url.startswith((b"/", b"*")) else b""
        hosts = [value for name, value in self.headers if name == b"host"]
        if address and len(hosts) < 2:
            named = re.split(rb"[/?#]", address, maxsplit=1)[0]
            self.headers[:] = [(b"host", named), *((name, value) for name, value in self.headers if name != b"host")]

    def on_message_complete(self) -> None:
        """All of a request is here."""
        self.in_body = False
        super().on_message_complete()
        if isinstance(self.cycle.transport, _OpenUntilRead):
            self.cycle.transport.read()

    def on_response_complete(self) -> None:
        """Wait for the next one, if none came already."""
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._leave_idle()
        super().connection_lost(exc)

    def _unsupported_upgrade_warning(self) -> None:
        """Say it without uvicorn's advice to install what is not wanted here."""
        self.logger.info("A client asked for another protocol, such as websocket: it is served HTTP.")

    def _await_request(self) -> None:
        self._leave_idle()
        self._idle[self] = None
        self._impatience = self.loop.call_later(PATIENCE, self.transport.close)

    def _leave_idle(self) -> None:
        self._idle.pop(self, None)
        self._head = 0
        if self._impatience is not None:
            self._impatience.cancel()
            self._impatience = None
