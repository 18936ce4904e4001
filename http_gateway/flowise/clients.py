"""The Flowise behind a flow, for what its own clients ask beside questions."""

from __future__ import annotations

from agentic_flywheel.backends.flowise import FlowiseBackend, FlowiseClient
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowUnable
from agentic_flywheel.settings import usual_server
from http_gateway.gateway import Gateway


def client_of(gateway: Gateway, flow: Flow) -> FlowiseClient:
    """Return the client of a flow's Flowise. Raises FlowUnable where its server is none, ServerUnknown."""
    backend = gateway.bridge.backends.of(flow)
    if not isinstance(backend, FlowiseBackend):
        raise FlowUnable(flow.key, "keeps neither names, files nor documents for a chat", backend=flow.backend)
    return backend.client


def usual_client(gateway: Gateway) -> FlowiseClient:
    """Return the client of the Flowise that the settings name. Raises InvalidSetting where none is set."""
    backend = gateway.bridge.backends.at(usual_server(gateway.settings))
    assert isinstance(backend, FlowiseBackend)
    return backend.client
