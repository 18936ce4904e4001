"""Any service that answers over HTTP: what is sent and where the answer stands is said in the registry."""

from agentic_flywheel.backends.http.client import HttpBackend

__all__ = ["HttpBackend"]
