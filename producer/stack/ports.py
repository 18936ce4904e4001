"""Choose free ports for servers that are about to start."""

from __future__ import annotations

import socket

from agentic_flywheel.errors import BrokerUnavailable

_HOST = "127.0.0.1"
_TRIES = 50
_END = 65_536


class Ports:
    """Loopback ports on which nobody listens, each reserved until ``close``.

    A server listens on its port only seconds after the port was chosen. To keep another stack from choosing it in
    between, a UDP socket is bound to the same number; the system frees it however this process ends.
    """

    def __init__(self) -> None:
        self._claims: list[socket.socket] = []

    def claim(self, *, prefer: int = 0, among: int = 1) -> int:
        """Return the first free port of ``among`` ports, counted from ``prefer``; else any free one.

        Raises BrokerUnavailable where there is none.
        """
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
        """Give all reservations back."""
        for claim in self._claims:
            claim.close()
        self._claims.clear()


def _unused(port: int) -> int:
    """Return the port, or any free one for 0. Raises OSError when somebody listens on it."""
    with socket.socket() as probe:
        # As servers do: a port whose connections are only winding down counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((_HOST, port))
        found: int = probe.getsockname()[1]
        return found
