"""Servers of flows: one protocol, and a package for each kind of server that speaks it."""

from agentic_flywheel.backends.models import FlowAnswer, FlowCall, FlowNews
from agentic_flywheel.backends.protocol import Abilities, FlowBackend, FlowReport, ListedFlow, Probe

__all__ = [
    "Abilities",
    "FlowAnswer",
    "FlowBackend",
    "FlowCall",
    "FlowNews",
    "FlowReport",
    "ListedFlow",
    "Probe",
]
