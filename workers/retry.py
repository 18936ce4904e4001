"""What to do after a failed call: decided here, without I/O; the task carries it out."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Literal

from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowError, FlowiseUnreachable, FlowRateLimited, FlywheelError, ProviderUnavailable
from agentic_flywheel.models import Model

#: First and longest pause before a retry. Flowise has retried a provider seven times before it tells us.
_PAUSES: dict[type[FlywheelError], tuple[float, float]] = {ProviderUnavailable: (5.0, 60.0)}
_USUAL_PAUSE = (0.5, 8.0)


class RetryDecision(Model):
    """Whether to call again, after how long, and what the failure says about the flow."""

    action: Literal["retry", "fallback", "fail"]
    delay: timedelta = timedelta(0)
    #: Whether this attempt uses up one of the flow's; one that cannot have reached the flow does not.
    counted: bool = True
    #: Nobody calls the flow for so long: it asked for it.
    hold: timedelta = timedelta(0)


def decide(error: FlywheelError, attempt: int, flow: Flow, draw: random.Random) -> RetryDecision:
    """Return what follows the failure of attempt number ``attempt`` (from 1).

    Pauses are drawn below an exponentially growing bound ("full jitter", M. Brooker, AWS Architecture Blog, 2015).
    """
    given_up = RetryDecision(action="fallback" if flow.fallback and isinstance(error, FlowError) else "fail")
    if not error.transient:
        return given_up
    if isinstance(error, FlowRateLimited):
        asked = timedelta(seconds=error.seconds)
        return RetryDecision(
            action="retry", delay=asked + timedelta(seconds=draw.uniform(0, 0.5)), counted=False, hold=asked
        )
    counted = not isinstance(error, FlowiseUnreachable) or error.sent
    if counted and attempt >= flow.attempts:
        return given_up
    first, longest = _PAUSES.get(type(error), _USUAL_PAUSE)
    bound = min(first * 2 ** min(attempt - 1, 16), longest)
    return RetryDecision(action="retry", delay=timedelta(seconds=draw.uniform(first / 4, bound)), counted=counted)
