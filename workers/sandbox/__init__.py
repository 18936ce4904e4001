"""A small real HTTP server that speaks Flowise's recorded protocol, for demonstrations and tests."""

from workers.sandbox.behaviour import Behaviour, Fault, RateLimit
from workers.sandbox.flows import SandboxFlow, Style, Voice
from workers.sandbox.server import Sandbox

__all__ = ["Behaviour", "Fault", "RateLimit", "Sandbox", "SandboxFlow", "Style", "Voice"]
