"""Hosts as network namespaces: each with an address of its own, on one switch, from which a test can cut it off."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

#: The hosts' network. It is seen inside the namespaces alone.
_NETWORK = "10.231.77"


class NoNamespaces(Exception):
    """This machine, or this user, may make no network namespaces."""


class Hosts:
    """Hosts by their names."""

    def __init__(self, mark: str, names: Sequence[str]) -> None:
        self._mark, self.names = mark, names

    def address(self, name: str) -> str:
        return f"{_NETWORK}.{self.names.index(name) + 1}"

    def on(self, name: str, command: Sequence[str]) -> list[str]:
        """Return the command that runs a command on a host."""
        return ["ip", "netns", "exec", self._space(name), *command]

    def cut_off(self, name: str) -> None:
        """Let nothing reach a host, and nothing that it sends reach another."""
        _ip("-n", self._space("switch"), "link", "set", name, "down")

    def heal(self, name: str) -> None:
        _ip("-n", self._space("switch"), "link", "set", name, "up")

    def make(self) -> None:
        """Raises NoNamespaces."""
        switch = self._space("switch")
        for name in ("switch", *self.names):
            _ip("netns", "add", self._space(name))
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge", "up")
        for name in self.names:
            host = self._space(name)
            _ip("link", "add", name, "netns", switch, "type", "veth", "peer", "name", "eth0", "netns", host)
            _ip("-n", switch, "link", "set", name, "master", "bridge", "up")
            _ip("-n", host, "address", "add", f"{self.address(name)}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip("-n", host, "link", "set", device, "up")

    def remove(self) -> None:
        for name in (*self.names, "switch"):
            with contextlib.suppress(NoNamespaces):  # where it was not made
                _ip("netns", "delete", self._space(name))

    def _space(self, name: str) -> str:
        return f"{self._mark}-{name}"


@contextmanager
def hosts(*names: str) -> Iterator[Hosts]:
    """Make hosts for the block. Raises NoNamespaces with the reason."""
    if shutil.which("ip") is None:
        raise NoNamespaces("no `ip` here (Debian: iproute2)")
    made = Hosts(f"flywheel-{os.getpid()}", names)
    try:
        made.make()
        yield made
    finally:
        made.remove()


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=20, check=False)
    if done.returncode:
        raise NoNamespaces(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
