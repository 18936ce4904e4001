"""Tracing: one trace for each query, across queues and processes. A fault of tracing never delays or fails a query."""

from agentic_flywheel.tracing.exporter import ExportCounts
from agentic_flywheel.tracing.observation import Observation, derive_span_id, new_span_id, root_span_id, trace_id
from agentic_flywheel.tracing.root import EndedQuery
from agentic_flywheel.tracing.tracer import Trace, Tracer

__all__ = [
    "EndedQuery",
    "ExportCounts",
    "Observation",
    "Trace",
    "Tracer",
    "derive_span_id",
    "new_span_id",
    "root_span_id",
    "trace_id",
]
