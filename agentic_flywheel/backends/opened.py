"""The backends of the flows that are called here: one for each server, opened when it is needed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module

from agentic_flywheel.backends.protocol import Abilities, FlowBackend
from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.errors import FlywheelError, InvalidRegistry, InvalidSetting, ServerUnknown
from agentic_flywheel.servers import BackendName, FlowServer
from agentic_flywheel.settings import Settings, flow_server, usual_server

#: Where each kind of backend is. It is imported when a flow needs it.
_CLASSES: dict[BackendName, tuple[str, str]] = {
    "flowise": ("agentic_flywheel.backends.flowise", "FlowiseBackend"),
    "openai": ("agentic_flywheel.backends.openai", "OpenAIBackend"),
    "http": ("agentic_flywheel.backends.http", "HttpBackend"),
}


class Backends:
    """Gives each flow the backend of its server. A server that the registry describes anew, or whose `ca_file` has
    changed, gets a new one, and the one that it had is closed when its last call has ended."""

    def __init__(self, settings: Settings, catalog: Callable[[], Catalog] | None = None) -> None:
        """``settings`` name the server of the flows that name none.

        ``catalog``: the one in force, where it may change; backends of servers that it does not name are closed.
        """
        self._settings, self._catalog = settings, catalog
        self._opened: dict[str, FlowBackend] = {}
        #: Of each flow by its key: as it was last asked for, and the name of its server among the opened ones.
        self._names: dict[str, tuple[Flow, str]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def of(self, flow: Flow) -> FlowBackend:
        """Return the backend of a flow's server. Raises ServerUnknown where the settings name none."""
        # Flows never change, and a query's is looked for several times: to read its server costs more than the rest.
        asked, name = self._names.get(flow.key, (None, ""))
        if asked is flow and (opened := self._opened.get(name)) is not None:
            return opened
        try:
            server = flow_server(flow, self._settings)
            backend = self.at(server)
        except InvalidSetting as unset:
            raise ServerUnknown(flow.key, unset.message, backend=flow.backend) from None
        if server.ca_file is None:  # else the file is looked at for every call
            self._names[flow.key] = flow, _name_of(server)
        return backend

    def at(self, server: FlowServer) -> FlowBackend:
        """Return the backend of a server. Raises InvalidSetting."""
        name = _name_of(server)
        if name not in self._opened:
            self._close_unnamed()
            self._opened[name] = open_backend(server)
        return self._opened[name]

    def abilities(self, flow: Flow) -> Abilities:
        """Return what can be done with a flow; nothing where its server cannot be asked: its call says why."""
        try:
            return self.of(flow).abilities(flow)
        except FlywheelError:
            return Abilities()

    async def close(self) -> None:
        """Close all of them, each as soon as its calls under way have ended."""
        opened, self._opened = list(self._opened.values()), {}
        await asyncio.gather(*self._closing, *(backend.close() for backend in opened))

    def _close_unnamed(self) -> None:
        """Close the backends of servers that the catalog does not name any more."""
        if self._catalog is None or not self._opened:
            return
        with suppress(InvalidRegistry):
            for name in self._opened.keys() - self._named(self._catalog()):
                closing = asyncio.create_task(self._opened.pop(name).close())
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)

    def _named(self, catalog: Catalog) -> set[str]:
        servers = [flow_server(flow, self._settings) for flow in catalog.flows.values() if flow.server]
        with suppress(InvalidSetting):
            servers.append(usual_server(self._settings))
        return {_name_of(server) for server in servers}


def _name_of(server: FlowServer) -> str:
    """Return what tells a server's backend from others: how it is described, and the state of its `ca_file`."""
    name = server.model_dump_json()
    if server.ca_file is None:
        return name
    with suppress(OSError):  # its call says that it cannot be read
        found = os.stat(server.ca_file)
        name += f" {found.st_ino} {found.st_size} {found.st_mtime_ns}"
    return name


def open_backend(server: FlowServer) -> FlowBackend:
    """Return a backend of its own for a server; it is the caller's to close. Raises InvalidSetting."""
    module, name = _CLASSES[server.backend]
    backend: FlowBackend = getattr(import_module(module), name)(server)
    return backend
