"""One trace per query, whatever queues and processes it crossed, and never in the way of its answer."""

from agentic_flywheel.tracing.exporter import Delivery
from agentic_flywheel.tracing.observation import Observation, derive_span_id, new_span_id, root_span_id, trace_id
from agentic_flywheel.tracing.root import Ended
from agentic_flywheel.tracing.tracer import Trace, Tracer

__all__ = [
    "Delivery",
    "Ended",
    "Observation",
    "Trace",
    "Tracer",
    "derive_span_id",
    "new_span_id",
    "root_span_id",
    "trace_id",
]
