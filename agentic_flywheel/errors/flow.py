"""A flow and its server."""

from __future__ import annotations

from dataclasses import dataclass

from agentic_flywheel.errors.base import (
    RETRY_CONNECTION,
    RETRY_RATE_LIMIT,
    RETRY_TIMEOUT,
    RETRY_UNAVAILABLE,
    FlywheelError,
)


@dataclass(eq=False)
class FlowError(FlywheelError):
    """A call of a flow failed. Base of all failures at the Flowise edge."""

    flow: str

    suggestions = (
        "Look at the flow in Flowise and run it there once.",
        "Run `flywheel flows check` to test the flow's id, key and server.",
        "Give the flow a `fallback` in the registry.",
    )


@dataclass(eq=False)
class FlowiseUnreachable(FlowError):
    """No connection to the Flowise server, or it broke before the answer was whole."""

    reason: str = ""
    #: Whether the request may have reached the flow; if not, repeating it costs nothing.
    sent: bool = True

    transient = True
    retry_hint = RETRY_CONNECTION
    suggestions = (
        "Check that Flowise runs and FLOWISE_BASE_URL names it: `flywheel doctor`.",
        "Look at Flowise's own log for a crash or restart.",
        "Without FLOWISE_BASE_URL, `flywheel up` starts a sandbox that answers in its place.",
    )

    @property
    def message(self) -> str:
        return f"Flowise could not be reached for flow {self.flow!r}: {self.reason}"


@dataclass(eq=False)
class FlowTimeout(FlowError):
    """The flow did not answer, or fell silent, for longer than allowed."""

    seconds: float = 0.0

    transient = True
    retry_hint = RETRY_TIMEOUT
    suggestions = (
        "Raise the flow's `timeout` in the registry if it is known to be slow.",
        "Look at Flowise: a flow that hangs there hangs here.",
        "Ask a shorter question, or split it.",
    )

    @property
    def message(self) -> str:
        return f"The flow {self.flow!r} gave no sign for {self.seconds:g} s"


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
    """The flow failed so often that it is not called for a while."""

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
    def message(self) -> str:
        return f"The key for flow {self.flow!r} was refused: {self.reason}"


@dataclass(eq=False)
class FlowNotFound(FlowError):
    """Flowise has no flow of this id."""

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
class FlowFailed(FlowError):
    """The flow itself raised; it will do so again until somebody changes it."""

    reason: str = ""

    @property
    def message(self) -> str:
        return f"The flow {self.flow!r} failed: {self.reason}"


@dataclass(eq=False)
class FlowProtocolError(FlowError):
    """The server's answer is not Flowise's protocol, such as an HTML page."""

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
        return f"The answer for flow {self.flow!r} is not Flowise's protocol: {self.reason}"
