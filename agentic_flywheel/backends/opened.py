"""The backends of the flows that are called here: one for each server, opened when it is needed."""

from __future__ import annotations

import asyncio
from importlib import import_module

from agentic_flywheel.backends.protocol import Abilities, FlowBackend
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowUnable, FlywheelError, InvalidSetting
from agentic_flywheel.servers import BackendName, FlowServer
from agentic_flywheel.settings import Settings, flow_server

#: Where each kind of backend is. It is imported when a flow needs it.
_CLASSES: dict[BackendName, tuple[str, str]] = {
    "flowise": ("agentic_flywheel.backends.flowise", "FlowiseBackend"),
    "openai": ("agentic_flywheel.backends.openai", "OpenAIBackend"),
    "http": ("agentic_flywheel.backends.http", "HttpBackend"),
}


class Backends:
    """Gives each flow the backend of its server. A server that the registry describes anew gets a new one."""

    def __init__(self, settings: Settings) -> None:
        """``settings`` name the server of the flows that name none."""
        self._settings = settings
        self._opened: dict[str, FlowBackend] = {}

    def of(self, flow: Flow) -> FlowBackend:
        """Return the backend of a flow's server. Raises FlowUnable where the settings name none that can be asked."""
        try:
            return self.at(flow_server(flow, self._settings))
        except InvalidSetting as unset:
            raise FlowUnable(flow.key, f"is not known here. {unset.message}", backend=flow.backend) from None

    def at(self, server: FlowServer) -> FlowBackend:
        """Return the backend of a server. Raises InvalidSetting."""
        name = server.model_dump_json()
        if name not in self._opened:
            self._opened[name] = open_backend(server)
        return self._opened[name]

    def abilities(self, flow: Flow) -> Abilities:
        """Return what can be done with a flow; nothing where its server cannot be asked: its call says why."""
        try:
            return self.of(flow).abilities(flow)
        except FlywheelError:
            return Abilities()

    async def close(self) -> None:
        """Close all of them."""
        opened, self._opened = list(self._opened.values()), {}
        await asyncio.gather(*(backend.close() for backend in opened))


def open_backend(server: FlowServer) -> FlowBackend:
    """Return a backend of its own for a server; it is the caller's to close. Raises InvalidSetting."""
    module, name = _CLASSES[server.backend]
    backend: FlowBackend = getattr(import_module(module), name)(server)
    return backend
