"""The task messages that workers send each other, each with the queue it goes to."""

from __future__ import annotations

from agentic_flywheel import wire
from agentic_flywheel.catalog import Flow
from agentic_flywheel.models import Query


def answer_message(query_id: str, query: Query, flow: Flow, part: str = "") -> tuple[str, str]:
    """Return the queue and the message that asks ``flow`` for a query's answer, or for one part of it."""
    queue = wire.banded(wire.domain_queue(flow.domain), query.priority)
    message = wire.task_message(
        wire.ANSWER,
        f"{query_id}-{part}" if part else query_id,
        f'["{query_id}",{query.written()},"{flow.key}","{part}"]',
        queue=queue,
        root_id=query_id if part else None,
        shown=_shown(query_id, query, flow.key),
    )
    return queue, message


def synthesis_message(query_id: str, query: Query) -> tuple[str, str]:
    """Return the queue and the message that puts a query's parts together."""
    queue = wire.banded(wire.SYNTHESIS_QUEUE, query.priority)
    message = wire.task_message(
        wire.SYNTHESIZE,
        query_id,
        f'["{query_id}",{query.written()}]',
        queue=queue,
        shown=_shown(query_id, query, "synthesis"),
    )
    return queue, message


def place(queue_and_message: tuple[str, str]) -> str:
    """Return a message with its queue as the scripts keep it."""
    return "\n".join(queue_and_message)


def _shown(query_id: str, query: Query, flow: str) -> str:
    return f"({query_id}, {flow}, {len(query.question)} characters)"
