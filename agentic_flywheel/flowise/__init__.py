"""Flowise as we meet it: one client, its requests, answers and failures."""

from agentic_flywheel.flowise.client import FlowiseClient
from agentic_flywheel.flowise.models import FlowAnswer, FlowCall, FlowNews

__all__ = ["FlowAnswer", "FlowCall", "FlowNews", "FlowiseClient"]
