"""Ports for servers that are about to start."""

from __future__ import annotations

import socket

from agentic_flywheel.errors import BrokerUnavailable

_HOST = "127.0.0.1"
_TRIES = 50
_END = 65_536


class Ports:
    """Loopback ports that nobody listens on, each claimed until ``close``.

    A server listens on its port only seconds after the port was chosen. What keeps a stack that starts in between from
    choosing it too is a UDP socket bound to the same number, which the system takes back however a stack ends.
    """

    def __init__(self) -> None:
        self._claims: list[socket.socket] = []

    def claim(self, *, prefer: int = 0, among: int = 1) -> int:
        """Return the first free one of so many ports from the preferred one on, else any."""
        for wanted in (*range(prefer, min(prefer + among, _END)), *[0] * _TRIES):
            claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                port = _unused(wanted)
                claim.bind((_HOST, port))
            except OSError:
                claim.close()
                continue
            self._claims.append(claim)
            return port
        raise BrokerUnavailable(_HOST, "this machine has no free port")

    def close(self) -> None:
        for claim in self._claims:
            claim.close()
        self._claims.clear()


def _unused(port: int) -> int:
    """Return the port, or any for 0. Raises OSError when somebody listens on it."""
    with socket.socket() as probe:
        # As servers do: a port whose connections are only winding down counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((_HOST, port))
        found: int = probe.getsockname()[1]
        return found
