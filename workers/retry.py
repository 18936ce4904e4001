"""Decide what to do after a failed call. Pure: ``delivery`` carries the decision out."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Literal

from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import (
    FlowError,
    FlowRateLimited,
    FlowTimeout,
    FlywheelError,
    ProviderUnavailable,
    ServerUnreachable,
)
from agentic_flywheel.models import Model

#: Most attempts at a flow whose provider is down, where its server has repeated its calls before it says so: Flowise
#: tries seven times, which takes minutes.
_PROVIDER_ATTEMPTS = 2
#: Most attempts that are cut at a flow whose server keeps no answer for which nobody waits: each was paid for, and
#: nothing can be found of it.
_LOST_ATTEMPTS = 2
#: First and longest pause before a retry, in seconds, by error.
_PAUSES: dict[type[FlywheelError], tuple[float, float]] = {ProviderUnavailable: (5.0, 60.0)}
_USUAL_PAUSE = (0.5, 8.0)


class RetryDecision(Model):
    """Whether and when to call again, and for how long the flow must not be called."""

    action: Literal["retry", "fallback", "fail"]
    delay: timedelta = timedelta(0)
    #: Whether this attempt counts as one of the flow's attempts. False where it cannot have reached the flow.
    counted: bool = True
    #: For how long nobody may call the flow, because it asked for that.
    throttled: timedelta = timedelta(0)


def decide(error: FlywheelError, attempt: int, flow: Flow, draw: random.Random) -> RetryDecision:
    """Return what to do after the failure of attempt number ``attempt``, counted from 1.

    Pauses are random, below a bound that grows exponentially ("full jitter", M. Brooker, AWS Architecture Blog, 2015).
    """
    given_up = RetryDecision(action="fallback" if flow.fallback and isinstance(error, FlowError) else "fail")
    if not error.transient:
        return given_up
    if isinstance(error, FlowRateLimited):
        asked = timedelta(seconds=error.seconds)
        return RetryDecision(
            action="retry", delay=asked + timedelta(seconds=draw.uniform(0, 0.5)), counted=False, throttled=asked
        )
    counted = not isinstance(error, ServerUnreachable) or error.sent
    if isinstance(error, ProviderUnavailable) and (flow.fallback or (error.repeated and attempt >= _PROVIDER_ATTEMPTS)):
        return given_up
    if counted and attempt >= min(flow.attempts, _LOST_ATTEMPTS if _is_lost(error) else flow.attempts):
        return given_up
    first, longest = _PAUSES.get(type(error), _USUAL_PAUSE)
    bound = min(first * 2 ** min(attempt - 1, 16), longest)
    return RetryDecision(action="retry", delay=timedelta(seconds=draw.uniform(first / 4, bound)), counted=counted)


def _is_lost(error: FlywheelError) -> bool:
    return isinstance(error, FlowTimeout | ServerUnreachable) and error.lost
