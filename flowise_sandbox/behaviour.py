"""Behaviour of a flow: pace, rate limit, failures. Pure: decides what should happen; the server does it."""

from __future__ import annotations

import math
import random
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from agentic_flywheel.models import Model, Probability

Seconds = Annotated[float, Field(ge=0, le=3600)]


#: What may be overridden in a flow whose owner enabled overriding: settings of its nodes, with all that the bundled
#: registry sends, and variables.
OVERRIDABLE = (
    "temperature", "maxOutputTokens", "maxTokens", "modelName", "systemMessage", "systemMessagePrompt", "openAIApiKey",
    "rephrasePrompt", "responsePrompt", "returnSourceDocuments",
)  # fmt: skip
VARIABLES = ("profile", "profile_context", "profile_context_type", "context")


class Fault(StrEnum):
    """One way in which a call can fail."""

    ERROR = "error_500"  # the flow's own code raises
    UNAUTHORIZED = "unauthorized"  # the flow's key is refused
    PROVIDER_KEY = "provider_401"
    PROVIDER_LIMIT = "provider_429"
    PROVIDER_DOWN = "provider_500"
    PROVIDER_CUT = "provider_cut"  # the provider's connection breaks in the middle of the answer
    HANG = "hang"  # never an answer; a stream gets heartbeats
    DROP = "drop"  # the connection breaks in the middle of the answer
    PAGE = "html"  # an HTML page in place of an answer
    GATEWAY = "gateway_502"
    EMPTY = "empty"  # an answer without text
    TOOL = "tool_error"  # the tool of its agent raises; a chatflow answers nevertheless
    # Of chat completions alone:
    QUOTA = "insufficient_quota"
    CONTEXT = "context_length_exceeded"
    FILTER = "content_filter"
    UNFINISHED = "unfinished"  # a stream ends with [DONE], and without a reason


class RateLimit(Model):
    """Most ``calls`` within ``seconds``, as a flow's owner sets them in Flowise."""

    calls: Annotated[int, Field(ge=1)]
    seconds: Annotated[float, Field(gt=0, le=86400)] = 1.0


class Behaviour(Model):
    """The settings of one flow's behaviour. The default answers at once and never fails."""

    #: Seconds before the first token.
    latency: Seconds = 0.0
    #: Seconds before each token.
    token_delay: Seconds = 0.0
    fault: Fault | None = None
    #: Share of calls, 0..1, that fail.
    fault_share: Probability = 1.0
    #: Number of calls, the first ones, that can fail; None: all.
    fault_first: Annotated[int, Field(ge=0)] | None = None
    seed: int = 0
    rate_limit: RateLimit | None = None
    #: Of a flow that asks a person: how often it stops, as long as the person proceeds.
    stops: Annotated[int, Field(ge=1, le=100)] = 1
    #: The API key that a call of the flow needs; None: none.
    key: str | None = None
    #: Whether the flow's owner has enabled overrides. Otherwise ``overrideConfig`` is ignored without an error.
    overrides: bool = False
    #: Whether the flow's owner has Flowise propose questions to ask next.
    follow_ups: bool = False
    #: Seconds between two heartbeats of a stream.
    heartbeat: Annotated[float, Field(gt=0)] = 30.0


class Window(Model):
    """The state of a rate limit after a call."""

    limit: int
    remaining: int
    #: Seconds until the window ends.
    reset: float
    refused: bool

    @property
    def retry_after(self) -> int:
        return max(1, math.ceil(self.reset))


class Conduct:
    """Applies one flow's behaviour to its calls: counts them, and decides which are refused or fail."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self._random = random.Random(behaviour.seed)
        self._seen = 0
        self._window_ends = 0.0
        self._in_window = 0

    def admit(self, now: float) -> Window | None:
        """Count a call for the rate limit and return its state; None without a limit.

        ``now``: seconds of any clock that only goes forward.
        """
        limit = self.behaviour.rate_limit
        if limit is None:
            return None
        if now >= self._window_ends:
            self._window_ends = now + limit.seconds
            self._in_window = 0
        self._in_window += 1
        return Window(
            limit=limit.calls,
            remaining=max(0, limit.calls - self._in_window),
            reset=self._window_ends - now,
            refused=self._in_window > limit.calls,
        )

    def next_fault(self) -> Fault | None:
        """Return the fault of the next call, if any. The same seed gives the same sequence."""
        behaviour = self.behaviour
        self._seen += 1
        if behaviour.fault is None:
            return None
        if behaviour.fault_first is not None and self._seen > behaviour.fault_first:
            return None
        if behaviour.fault_share < 1.0 and self._random.random() >= behaviour.fault_share:
            return None
        return behaviour.fault
