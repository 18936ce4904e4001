"""Record in a query's trace what a flow did for its answer: a span for each step, and one for each tool below it."""

from __future__ import annotations

from agentic_flywheel.backends.models import FlowAnswer
from agentic_flywheel.models import FlowStep, ToolUse
from agentic_flywheel.tracing import Trace
from agentic_flywheel.tracing.observation import STEP, TOOL, new_span_id


def record_doings(trace: Trace, found: FlowAnswer, *, start: int, end: int, parent: str) -> None:
    """Record the steps and tools of one call, which ran from ``start`` to ``end`` (ns since 1970) below ``parent``.

    A step whose time nobody told stands where the one before it ended. Flowise's clock may differ from ours, so no step
    is drawn outside of its call; ``elapsed_ms`` is what was told.
    """
    spans: dict[str, tuple[str, int, int]] = {}
    at = start
    for step in found.steps:
        began = _nanoseconds(step) or at
        took = int(step.elapsed.total_seconds() * 1e9) if step.elapsed is not None else 0
        began = min(max(began, start), end)
        at = min(began + took, end)
        spans[step.id] = new_span_id(), began, at
        trace.observe(
            f"{STEP}{step.name}",
            "generation" if step.usage else "span",
            start=began,
            end=at,
            span_id=spans[step.id][0],
            parent=parent,
            output=step.reasoning or None,
            metadata={
                "node": step.id,
                "kind": step.kind or None,
                "status": step.status,
                "elapsed_ms": step.elapsed.total_seconds() * 1000 if step.elapsed is not None else None,
            },
            model=step.usage.model if step.usage else None,
            usage=step.usage,
            level="ERROR" if step.error else None,
            message=step.error,
        )
    for use in found.tools:
        _record_tool(trace, use, spans.get(use.step, (parent, start, end)))


def _record_tool(trace: Trace, use: ToolUse, step: tuple[str, int, int]) -> None:
    # Flowise does not tell when a tool ran: its span is as long as its step.
    span_id, began, ended = step
    trace.observe(
        f"{TOOL}{use.name}",
        "tool",
        start=began,
        end=ended,
        parent=span_id,
        input=use.input,
        output=use.output,
        level="ERROR" if use.error is not None else None,
        message=use.error,
    )


def _nanoseconds(step: FlowStep) -> int:
    return int(step.started.timestamp() * 1e9) if step.started is not None else 0
