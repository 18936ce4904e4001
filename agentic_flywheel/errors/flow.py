"""Failures of a flow or of its server."""

from __future__ import annotations

import re
from dataclasses import dataclass

from agentic_flywheel.errors.base import (
    RETRY_CONNECTION,
    RETRY_NEVER,
    RETRY_RATE_LIMIT,
    RETRY_TIMEOUT,
    RETRY_UNAVAILABLE,
    FlywheelError,
)

#: Stands for the flow in errors of calls that concern no particular one.
ANY_FLOW = "*"
#: A provider's words for a key that it does not take, as Flowise passes them on.
_PROVIDERS_REFUSAL = re.compile(r"\b40[13] \w|API key provided", re.IGNORECASE)


@dataclass(eq=False)
class FlowError(FlywheelError):
    """A call of a flow failed. Base of this module's classes."""

    flow: str

    suggestions = (
        "Look at the flow in Flowise and run it there once.",
        "Run `flywheel flows check` to test the flow's id, key and server.",
        "Give the flow a `fallback` in the registry.",
    )

    @property
    def _for_flow(self) -> str:
        return "" if self.flow == ANY_FLOW else f" for flow {self.flow!r}"


@dataclass(eq=False)
class ServerUnreachable(FlowError):
    """No connection to the Flowise server, or the connection broke before the whole answer had arrived."""

    reason: str = ""
    #: Whether the request may have reached the flow. If not, a repetition cannot run the flow twice.
    sent: bool = True
    #: Whether it has, and its server keeps no answer for which nobody waits: a repetition is paid for again.
    lost: bool = False

    transient = True
    retry_hint = RETRY_CONNECTION
    suggestions = (
        "Check that Flowise runs and FLOWISE_BASE_URL names it: `flywheel doctor`.",
        "Look at Flowise's own log for a crash or restart.",
        "Without FLOWISE_BASE_URL, `flywheel up` starts a sandbox that answers in its place.",
    )

    @property
    def message(self) -> str:
        return f"Flowise could not be reached{self._for_flow}: {self.reason}"


@dataclass(eq=False)
class ServerUnavailable(FlywheelError):
    """A Flowise server that was to say which flows it has cannot be reached, or does not answer in time."""

    url: str
    reason: str

    transient = True
    retry_hint = RETRY_CONNECTION
    suggestions = (
        "Check the address, with its port: `--url http://HOST:3000`, or FLOWISE_BASE_URL.",
        "Open the address in a browser on this machine: Flowise's page should come.",
        "Look whether Flowise runs, and into its own log.",
    )

    @property
    def message(self) -> str:
        return f"The Flowise at {self.url} cannot be asked for its flows: {self.reason}"


@dataclass(eq=False)
class FlowTimeout(FlowError):
    """The flow sent nothing for longer than allowed, or did not finish within its time-out."""

    seconds: float = 0.0
    #: Whether an answer had begun.
    silent: bool = False
    #: Whether the flow's server keeps no answer for which nobody waits: a repetition is paid for again.
    lost: bool = False

    transient = True
    retry_hint = RETRY_TIMEOUT
    suggestions = (
        "Raise the flow's `timeout` (of a whole call) or `idle_timeout` (between parts of an answer) in the registry.",
        "Look at Flowise: a flow that hangs there hangs here.",
        "Ask a shorter question, or split it.",
    )

    @property
    def message(self) -> str:
        if self.silent:
            return f"The flow {self.flow!r} fell silent amid its answer, for {self.seconds:g} s"
        who = "Flowise" if self.flow == ANY_FLOW else f"The flow {self.flow!r}"
        return f"{who} had not answered within {self.seconds:g} s"


@dataclass(eq=False)
class FlowRateLimited(FlowError):
    """Flowise answered 429: the flow's own rate limit is reached."""

    seconds: float = RETRY_RATE_LIMIT

    transient = True
    suggestions = (
        "Wait for `retry_after` seconds; workers do so by themselves.",
        "Set the flow's `rate` in the registry to what Flowise allows.",
        "Raise the limit in the flow's configuration in Flowise.",
    )

    @property
    def message(self) -> str:
        return f"The flow {self.flow!r} is rate limited; it asks to wait {self.seconds:g} s"

    @property
    def retry_after(self) -> float:
        return self.seconds


@dataclass(eq=False)
class ProviderUnavailable(FlowError):
    """The LLM provider behind the flow is overloaded or down."""

    reason: str = ""

    transient = True
    retry_hint = RETRY_UNAVAILABLE
    suggestions = (
        "Wait: Flowise has already retried several times, so the provider needs minutes.",
        "Check the provider's status page and your quota.",
        "Give the flow a `fallback` that uses another provider.",
    )

    @property
    def message(self) -> str:
        return f"The provider behind flow {self.flow!r} is unavailable: {self.reason}"


@dataclass(eq=False)
class CircuitOpen(FlowError):
    """The flow failed several times in a row, so it is not called for a while."""

    seconds: float = RETRY_UNAVAILABLE

    transient = True
    suggestions = (
        "Wait: after `retry_after` seconds one query probes the flow.",
        "Look at `flywheel health` for the error that opened the circuit.",
        "Give the flow a `fallback` in the registry.",
    )

    @property
    def message(self) -> str:
        return f"The circuit of flow {self.flow!r} is open; it is probed again in {self.seconds:g} s"

    @property
    def retry_after(self) -> float:
        return self.seconds


@dataclass(eq=False)
class FlowUnauthorized(FlowError):
    """Flowise, or the provider behind it, refused the key."""

    reason: str = ""

    suggestions = (
        "Set FLOWISE_API_KEY, or the variable that the flow's `api_key_env` names, to a key of this flow.",
        "Check in Flowise which key the flow is bound to.",
        "If the reason speaks of the provider, correct the credential inside the flow.",
    )

    @property
    def by_provider(self) -> bool:
        """Whether the provider refused the flow's credential. Flowise itself says no more than "Unauthorized"."""
        return _PROVIDERS_REFUSAL.search(self.reason) is not None

    @property
    def recovery_suggestions(self) -> tuple[str, ...]:
        if not self.by_provider:
            return self.suggestions
        first = "Correct the credential inside the flow, in Flowise: its provider does not take it."
        return (first, *FlowError.suggestions[:2])

    @property
    def message(self) -> str:
        if self.by_provider:
            return f"The provider behind flow {self.flow!r} refused the flow's key: {self.reason}"
        return f"The key{self._for_flow} was refused: {self.reason}"


@dataclass(eq=False)
class FlowNotFound(FlowError):
    """Flowise has no flow with this id."""

    flow_id: str = ""

    suggestions = (
        "Compare the registry's `id` with the flow's address in Flowise.",
        "Run `flywheel flows check` to test every flow of the registry.",
        "Set `active: false` for a flow that was deleted.",
    )

    @property
    def message(self) -> str:
        return f"Flowise has no flow of the id {self.flow_id!r} (flow {self.flow!r})"


@dataclass(eq=False)
class FlowRefused(FlowError):
    """Flowise did not accept the request: malformed, too large or otherwise invalid."""

    reason: str = ""

    suggestions = (
        "Check the query's config override, history and form for wrong types.",
        "A request has at most 50 MB; send large documents to the flow's own store.",
        "Run `flywheel flows check` to test the flow's id.",
    )

    @property
    def message(self) -> str:
        return f"Flowise refused the request to flow {self.flow!r}: {self.reason}"


@dataclass(eq=False)
class DecisionUnderWay(FlowRefused):
    """A decision was told once more: an earlier call has told it, and the flow is carrying it out."""


@dataclass(eq=False)
class FlowUnable(FlowError):
    """The flow's server cannot do what the query needs. Nothing was sent."""

    lack: str = ""

    suggestions = (
        "Ask another flow, one whose server can do that: `flywheel flows list`.",
        "Leave out what it cannot take, and ask again.",
        "docs/backends.md says what each kind of server can do.",
    )

    @property
    def message(self) -> str:
        return f"The flow {self.flow!r} was not asked: its server {self.lack}"


@dataclass(eq=False)
class FlowFailed(FlowError):
    """The flow itself raised an error. It will do so again until somebody changes the flow."""

    reason: str = ""

    @property
    def message(self) -> str:
        return f"The flow {self.flow!r} failed: {self.reason}"


@dataclass(eq=False)
class FlowProtocolError(FlowError):
    """The server's answer does not follow Flowise's protocol; for example, it is an HTML page."""

    reason: str = ""

    transient = True
    retry_hint = RETRY_UNAVAILABLE
    suggestions = (
        "Check that FLOWISE_BASE_URL names Flowise itself, not a proxy's or a login page.",
        "Check the Flowise version: 3.1 is what this was built for.",
        "Look at the server's answer with `flywheel flows check`.",
    )

    @property
    def message(self) -> str:
        return f"The answer{self._for_flow} is not Flowise's protocol: {self.reason}"


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

    @property
    def message(self) -> str:
        return f"The answer{self._for_flow} is too long: {self.reason}"
