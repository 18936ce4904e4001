"""How a flow behaves: its pace, its limits and its failures. Decides only; the server waits and fails."""

from __future__ import annotations

import math
import random
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from agentic_flywheel.models import Model, Probability

Seconds = Annotated[float, Field(ge=0, le=3600)]


class Fault(StrEnum):
    """One way for a call to fail."""

    ERROR = "error_500"  # the flow's own code raises
    UNAUTHORIZED = "unauthorized"  # the flow's key is refused
    PROVIDER_KEY = "provider_401"
    PROVIDER_LIMIT = "provider_429"
    PROVIDER_DOWN = "provider_500"
    PROVIDER_CUT = "provider_cut"  # the provider's connection breaks amid the answer
    HANG = "hang"  # no answer ever; a stream has heartbeats
    DROP = "drop"  # the connection breaks amid the answer
    PAGE = "html"  # a page instead of an answer
    GATEWAY = "gateway_502"
    EMPTY = "empty"  # an answer without text


class RateLimit(Model):
    """So many calls within so many seconds, as a flow's owner sets it in Flowise."""

    calls: Annotated[int, Field(ge=1)]
    seconds: Annotated[float, Field(gt=0, le=86400)] = 1.0


class Behaviour(Model):
    """Everything about a flow that a test or demonstration can set. The default is a quick flow that never fails."""

    #: Before the first token.
    latency: Seconds = 0.0
    #: Between tokens.
    token_delay: Seconds = 0.0
    fault: Fault | None = None
    #: The share of calls that the fault meets.
    fault_share: Probability = 1.0
    #: Only the first so many calls meet it.
    fault_first: Annotated[int, Field(ge=0)] | None = None
    seed: int = 0
    rate_limit: RateLimit | None = None
    #: The key that the flow is bound to.
    key: str | None = None
    #: Whether the owner enabled overriding; otherwise ``overrideConfig`` is silently ignored.
    overrides: bool = False
    heartbeat: Annotated[float, Field(gt=0)] = 30.0


class Window(Model):
    """Where a rate limit stands after a call."""

    limit: int
    remaining: int
    #: Seconds until the window ends.
    reset: float
    refused: bool

    @property
    def retry_after(self) -> int:
        return max(1, math.ceil(self.reset))


class Conduct:
    """One flow's behaviour under way: how many calls it met, and the windows of its rate limit."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self._random = random.Random(behaviour.seed)
        self._seen = 0
        self._window_ends = 0.0
        self._in_window = 0

    def admit(self, now: float) -> Window | None:
        """Count a call against the rate limit; None where there is none. ``now``: seconds of any steady clock."""
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
        """Return what the next call meets. The sequence is the seed's, so a run can be repeated."""
        behaviour = self.behaviour
        self._seen += 1
        if behaviour.fault is None:
            return None
        if behaviour.fault_first is not None and self._seen > behaviour.fault_first:
            return None
        if behaviour.fault_share < 1.0 and self._random.random() >= behaviour.fault_share:
            return None
        return behaviour.fault
