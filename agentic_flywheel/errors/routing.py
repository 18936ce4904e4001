"""What can fail while a question is routed."""

from __future__ import annotations

from dataclasses import dataclass

from agentic_flywheel.errors.base import RETRY_CONNECTION, FlywheelError


@dataclass(eq=False)
class EncoderUnavailable(FlywheelError):
    """The server of embeddings did not give vectors; routing goes on without it."""

    url: str
    reason: str

    transient = True
    retry_hint = RETRY_CONNECTION
    suggestions = (
        "Nothing is lost: questions are routed by the first stage until the server answers.",
        "Check `encoder.url` and `encoder.model` in the registry: `POST <url>/embeddings` must answer.",
        "Check that the variable named by `encoder.api_key_env` holds a valid key in the worker's environment.",
    )

    @property
    def message(self) -> str:
        return f"The embeddings server at {self.url} gave no vectors: {self.reason}"
