"""Say what a flow's answer has cost, by the registry's prices."""

from __future__ import annotations

from agentic_flywheel.backends.models import FlowAnswer
from agentic_flywheel.catalog import Flow
from agentic_flywheel.models import Usage
from agentic_flywheel.prices import Prices, together


def priced(found: FlowAnswer, flow: Flow, prices: Prices) -> FlowAnswer:
    """Return the answer with the cost of its tokens and of its steps' tokens, as far as both are known.

    A step is priced by its own model. The flow's ``model`` stands in where its server tells none.
    """
    if found.usage is None or not prices.models:
        return found
    steps = tuple(
        step.model_copy(update={"usage": _with_cost(step.usage, flow, prices)}) if step.usage is not None else step
        for step in found.steps
    )
    told = [step.usage for step in steps if step.usage is not None]
    usage = _with_cost(found.usage, flow, prices)
    if told:
        # Several models may have answered: the whole is the sum of what its steps cost, if these tell of every token.
        all_told = sum(each.total_tokens for each in told) >= found.usage.total_tokens
        usage = usage.model_copy(update={"cost": together(each.cost for each in told) if all_told else None})
    return found.model_copy(update={"steps": steps, "usage": usage})


def _with_cost(usage: Usage, flow: Flow, prices: Prices) -> Usage:
    read, written = usage.input_tokens, usage.output_tokens
    if not read or not written or read + written < usage.total_tokens:
        return usage  # told in part: every call reads and writes, and tokens that are neither have no price
    cost = prices.cost(
        usage.model or flow.model,
        input_tokens=read,
        cached=usage.cached_input_tokens,
        output_tokens=written,
    )
    return usage.model_copy(update={"cost": cost})
