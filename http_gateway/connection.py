"""One client's connection: what is no HTTP request is refused in the shape of the API that it was for."""

from __future__ import annotations

from http import HTTPStatus

from agentic_flywheel.errors import FlywheelError, HeadTooLarge, MalformedRequest
from http_gateway.app import SURFACES
from http_gateway.problems import status_of
from http_gateway.surfaces import surface_at
from mcp_bridge.connections import LARGEST_HEAD, ClientConnection
from mcp_bridge.discretion import outward

#: Characters of a path that are looked at to find its API.
_LONGEST_PATH = 1_000


class GatewayConnection(ClientConnection):
    """A connection of the gateway. What the parser refuses reaches no route, nor the entrance."""

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser cannot read."""
        self._refuse(
            MalformedRequest("its first line, its headers or the length of its body are not as HTTP/1.1 demands")
        )

    def refuse_head(self) -> None:
        """Refuse a head that is too large."""
        self._refuse(HeadTooLarge(LARGEST_HEAD))

    def _refuse(self, error: FlywheelError) -> None:
        answering = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        # Amid another response it would be taken for a part of that.
        if not answering and not self.transport.is_closing():
            self.transport.write(_written(error, getattr(self, "url", b"")))
        self.transport.close()


def _written(error: FlywheelError, address: bytes) -> bytes:
    path = address[:_LONGEST_PATH].partition(b"?")[0].decode("latin-1")
    info = outward(error)
    response = surface_at(path, SURFACES).refusal(info, status_of(info))
    headers = [*response.raw_headers, (b"connection", b"close")]
    head = f"HTTP/1.1 {response.status_code} {HTTPStatus(response.status_code).phrase}\r\n".encode()
    return head + b"".join(name + b": " + value + b"\r\n" for name, value in headers) + b"\r\n" + bytes(response.body)
