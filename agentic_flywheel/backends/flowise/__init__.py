"""Flowise as we meet it: one client, its requests, answers and failures."""

from agentic_flywheel.backends.flowise.backend import FlowiseBackend
from agentic_flywheel.backends.flowise.client import FlowiseClient

__all__ = ["FlowiseBackend", "FlowiseClient"]
