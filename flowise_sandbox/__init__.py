"""A small HTTP server that speaks Flowise's protocol as it was recorded, and OpenAI's, for the demo and the tests."""

from flowise_sandbox.behaviour import Behaviour, Fault, RateLimit
from flowise_sandbox.flows import SandboxFlow, Style, Voice

__all__ = ["Behaviour", "Fault", "RateLimit", "SandboxFlow", "Style", "Voice"]
