"""The trace of a query that was answered at its submission: no worker ever saw it, so its producer tells it."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from agentic_flywheel.models import Answer, Query, State
from agentic_flywheel.persistence import age_of
from agentic_flywheel.tracing import Ended, Tracer


def trace_hit(
    tracer: Tracer, query: Query, answer: Answer, stored: str, began: int, title: str | None, *, private: bool
) -> None:
    """Record the look into the cache, which began at ``began`` nanoseconds, and the whole query."""
    if not tracer.enabled:
        return
    end = time.time_ns()
    trace = tracer.trace(answer.query_id, session=query.session_id, user=query.user, private=private)
    trace.observe(
        "cache-check",
        start=began,
        end=end,
        output={"hit": True, "found": "front"},
        metadata={"key": answer.cache_key, "age_s": age_of(stored, end), "policy": query.cache},
    )
    trace.root(
        Ended(
            query_id=answer.query_id,
            owner=query.user,
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
