"""Trace a query that was answered from the cache at its submission. No worker saw it, so the producer records it."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from agentic_flywheel.broker.persistence import age_of
from agentic_flywheel.models import Answer, Query, State
from agentic_flywheel.tracing import EndedQuery, Tracer


def trace_hit(
    tracer: Tracer, query: Query, answer: Answer, stored: str, began: int, title: str | None, *, private: bool
) -> None:
    """Record the cache check and the root of the trace. Both begin at ``began``, in nanoseconds since 1970."""
    if not tracer.enabled:
        return
    end = time.time_ns()
    trace = tracer.trace(answer.query_id, session=query.session_id, user=query.asker.name, private=private)
    trace.observe(
        "cache-check",
        start=began,
        end=end,
        output={"hit": True, "found": "front"},
        metadata={"key": answer.cache_key, "age_s": age_of(stored, end), "policy": query.cache},
    )
    trace.root(
        EndedQuery(
            query_id=answer.query_id,
            asker=query.asker,
            state=State.SUCCEEDED,
            query=query,
            answer=answer,
            flow=answer.flow,
            domain=answer.domain,
            created=datetime.fromtimestamp(began / 1e9, UTC),
            finished=datetime.fromtimestamp(end / 1e9, UTC),
        ),
        title=title,
    )
