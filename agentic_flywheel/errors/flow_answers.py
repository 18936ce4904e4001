"""Failures of what a flow's server answers."""

from __future__ import annotations

from dataclasses import dataclass

from agentic_flywheel.errors.base import RETRY_NEVER, RETRY_UNAVAILABLE
from agentic_flywheel.errors.flow import FlowError


@dataclass(eq=False)
class FlowProtocolError(FlowError):
    """The server's answer does not follow its protocol; for example, it is an HTML page."""

    reason: str = ""
    #: Whether the server keeps no answer that was not read: a repetition is paid for again.
    lost: bool = False

    transient = True
    retry_hint = RETRY_UNAVAILABLE
    suggestions = (
        "Check that FLOWISE_BASE_URL names Flowise itself, not a proxy's or a login page.",
        "Check the Flowise version: 3.1 is what this was built for.",
        "Look at the server's answer with `flywheel flows check`.",
    )
    elsewhere = (
        "Check that the registry's `server` names the server itself, with its path, not a proxy's or a login page.",
        "Check its `backend`, and with `http` where the `answer` stands.",
        "Send the server the same request by hand, and look at what it answers.",
    )

    @property
    def message(self) -> str:
        return f"The answer{self._for_flow} does not follow the server's protocol: {self.reason}"


@dataclass(eq=False)
class AnswerTooLong(FlowProtocolError):
    """The flow tells more than is read of one answer. It would tell as much again, so it is not called again."""

    transient = False
    retry_hint = RETRY_NEVER
    suggestions = (
        "Ask for less: a shorter question, or a limit such as `maxOutputTokens` in the flow's `config`.",
        "Look at the flow in Flowise: a loop, or a tool that returns whole files, has no end.",
        "Have the flow return large results as a link or a file.",
    )
    elsewhere = (
        "Ask for less: a shorter question, or a limit such as `max_tokens` in the flow's `sampling`.",
        "Look at the flow on its server: a loop, or a tool that returns whole files, has no end.",
        "Have the flow return large results as a link or a file.",
    )

    @property
    def message(self) -> str:
        return f"The answer{self._for_flow} is too long: {self.reason}"
