"""Failures of a flow or of its server."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import ClassVar

from agentic_flywheel.errors.base import (
    RETRY_CONNECTION,
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
    #: The protocol that the flow's server speaks. What to do next is another thing elsewhere than in Flowise.
    backend: str = field(default="flowise", kw_only=True)

    suggestions = (
        "Look at the flow in Flowise and run it there once.",
        "Run `flywheel flows check` to test the flow's id, key and server.",
        "Give the flow a `fallback` in the registry.",
    )
    #: The suggestions where the flow is not in Flowise.
    elsewhere: ClassVar[tuple[str, ...]] = (
        "Look into the log of the flow's server, and ask the flow there once.",
        "Run `flywheel flows check` to test the flow's server and key.",
        "Give the flow a `fallback` in the registry.",
    )

    @property
    def advice(self) -> tuple[str, ...]:
        return self.suggestions if self.backend == "flowise" else self.elsewhere

    @property
    def _for_flow(self) -> str:
        return "" if self.flow == ANY_FLOW else f" for flow {self.flow!r}"

    @property
    def _server(self) -> str:
        return "The server" if self.flow == ANY_FLOW else f"The server of the flow {self.flow!r}"


@dataclass(eq=False)
class ServerUnreachable(FlowError):
    """No connection to the flow's server, or the connection broke before the whole answer had arrived."""

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
    elsewhere = (
        "Check that the flow's server runs, and that the registry's `server` names it: `flywheel doctor`.",
        "Look at the server's own log for a crash or restart.",
        "Look at HTTP_PROXY, HTTPS_PROXY and NO_PROXY, and at the server's `ca_file`.",
    )

    @property
    def message(self) -> str:
        lost = "; its answer is lost, since the server keeps none for which nobody waits" if self.lost else ""
        return f"{self._server} could not be reached: {self.reason}{lost}"


@dataclass(eq=False)
class ServerUnavailable(FlywheelError):
    """A server that was to say which flows it has cannot be reached, or does not answer in time."""

    url: str
    reason: str

    transient = True
    retry_hint = RETRY_CONNECTION
    suggestions = (
        "Check the address, with its port: `--url http://HOST:3000`, FLOWISE_BASE_URL, or the registry's `servers`.",
        "Open the address in a browser on this machine: something should come, of a Flowise its page.",
        "Look whether the server runs, and into its own log.",
    )

    @property
    def message(self) -> str:
        return f"The server at {self.url} cannot be asked for its flows: {self.reason}"


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
    elsewhere = (
        suggestions[0],
        "Look at the flow's server: a call that hangs there hangs here.",
        "Ask a shorter question, or split it.",
    )

    @property
    def message(self) -> str:
        lost = "; its answer is lost, since its server keeps none for which nobody waits" if self.lost else ""
        if self.silent:
            return f"The flow {self.flow!r} fell silent amid its answer, for {self.seconds:g} s{lost}"
        who = "The server" if self.flow == ANY_FLOW else f"The flow {self.flow!r}"
        return f"{who} had not answered within {self.seconds:g} s{lost}"


@dataclass(eq=False)
class FlowRateLimited(FlowError):
    """The server answered 429: a rate limit is reached, the flow's own or the server's."""

    seconds: float = RETRY_RATE_LIMIT

    transient = True
    suggestions = (
        "Wait for `retry_after` seconds; workers do so by themselves.",
        "Set the flow's `rate` in the registry to what Flowise allows.",
        "Raise the limit in the flow's configuration in Flowise.",
    )
    elsewhere = (
        "Wait for `retry_after` seconds; workers do so by themselves.",
        "Set the flow's `rate`, or its server's `concurrency`, in the registry to what the server allows.",
        "Raise the limit where the server, or its provider, sets it.",
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
    #: Whether the flow's server has asked the provider several times itself.
    repeated: bool = False

    transient = True
    retry_hint = RETRY_UNAVAILABLE
    suggestions = (
        "Wait: Flowise has already retried several times, so the provider needs minutes.",
        "Check the provider's status page and your quota.",
        "Give the flow a `fallback` that uses another provider.",
    )
    elsewhere = ("Wait: the provider needs minutes, mostly.", *suggestions[1:])

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
    elsewhere = suggestions

    @property
    def message(self) -> str:
        return f"The circuit of flow {self.flow!r} is open; it is probed again in {self.seconds:g} s"

    @property
    def retry_after(self) -> float:
        return self.seconds


@dataclass(eq=False)
class FlowUnauthorized(FlowError):
    """The flow's server, or the provider behind it, refused the key."""

    reason: str = ""

    suggestions = (
        "Set FLOWISE_API_KEY, or the variable that `api_key_env` names, to a key of this flow where the workers run.",
        "Check in Flowise which key the flow is bound to.",
        "If the reason speaks of the provider, correct the credential inside the flow.",
    )
    elsewhere = (
        "Set the variable that `api_key_env` names to a key that the server takes; workers read it at their start.",
        "Check on the server what the key may do: this model, this path.",
        "Run `flywheel flows check` to test the flow's server and key.",
    )

    @property
    def by_provider(self) -> bool:
        """Whether the provider refused the flow's credential. Flowise itself says no more than "Unauthorized"."""
        return _PROVIDERS_REFUSAL.search(self.reason) is not None

    @property
    def advice(self) -> tuple[str, ...]:
        if self.backend != "flowise" or not self.by_provider:
            return super().advice
        first = "Correct the credential inside the flow, in Flowise: its provider does not take it."
        return (first, *FlowError.suggestions[:2])

    @property
    def message(self) -> str:
        if self.by_provider:
            return f"The provider behind flow {self.flow!r} refused the flow's key: {self.reason}"
        return f"The key{self._for_flow} was refused: {self.reason}"


@dataclass(eq=False)
class FlowNotFound(FlowError):
    """The server has no flow with this id."""

    flow_id: str = ""

    suggestions = (
        "Compare the registry's `id` with the flow's address in Flowise.",
        "Run `flywheel flows check` to test every flow of the registry.",
        "Set `active: false` for a flow that was deleted.",
    )
    elsewhere = (
        "Compare the registry's `model`, or the path of its `request`, with what the server has.",
        *suggestions[1:],
    )

    @property
    def message(self) -> str:
        if self.backend == "openai":
            return f"The server has no model {self.flow_id!r} (flow {self.flow!r})"
        named = f" of the id {self.flow_id!r}" if self.flow_id else ""
        return f"The server has no flow{named} (flow {self.flow!r})"


@dataclass(eq=False)
class FlowRefused(FlowError):
    """The flow's server did not accept the request: malformed, too large or otherwise invalid."""

    reason: str = ""

    suggestions = (
        "Check the query's config override, history and form for wrong types.",
        "A request has at most 50 MB; send large documents to the flow's own store.",
        "Run `flywheel flows check` to test the flow's id.",
    )
    elsewhere = (
        "Check what the flow is sent: `sampling` or `request` in the registry, the question, history and files.",
        "Send less: a shorter question, fewer turns (`history_chars`), smaller files.",
        "Run `flywheel flows check` to test the flow's server.",
    )

    @property
    def message(self) -> str:
        return f"The request to flow {self.flow!r} was refused: {self.reason}"


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
    elsewhere = suggestions

    @property
    def message(self) -> str:
        return f"The flow {self.flow!r} was not asked: its server {self.lack}"


@dataclass(eq=False)
class ServerUnknown(FlowError):
    """The flow's server is not known where it was to be asked. Nothing was sent."""

    reason: str = ""

    suggestions = (
        "Set FLOWISE_BASE_URL for every process that asks flows: the workers, and the gateway for Flowise's clients.",
        "Or name the flow's `server` in the registry.",
        "Run `flywheel doctor` in that process's environment: it says what is missing.",
    )
    elsewhere = suggestions

    @property
    def message(self) -> str:
        return f"The flow {self.flow!r} was not asked: its server is not known here. {self.reason}"


@dataclass(eq=False)
class FlowFailed(FlowError):
    """The flow itself raised an error. It will do so again until somebody changes the flow."""

    reason: str = ""

    @property
    def message(self) -> str:
        return f"The flow {self.flow!r} failed: {self.reason}"
