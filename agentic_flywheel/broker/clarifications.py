"""Clarifications: a query can end with the question which flow to ask. The caller's choice begins a second query.

The second query is called the successor. It is stored, so that a repeated choice does not begin a third one.
"""

from __future__ import annotations

from datetime import timedelta

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.models import Record


def awaits_choice(record: Record) -> bool:
    """Return whether a query ended with a clarification: the caller is asked to choose a flow."""
    return record.answer is not None and record.answer.kind == "clarify"


async def successor_of(batch: Batch, query_id: str) -> str | None:
    """Return the id of a query's successor; None while nobody has chosen. Raises BrokerUnavailable."""
    found: str | None = await batch.call("GET", wire.successor_key(query_id))
    return found


async def succeed(batch: Batch, query_id: str, successor: str, *, ttl: timedelta) -> str:
    """Store ``successor`` as a query's successor for ``ttl``, unless it has one. Returns the one that is stored.

    Raises BrokerUnavailable.
    """
    key, milliseconds = wire.successor_key(query_id), int(ttl.total_seconds() * 1000)
    earlier: str | None = await batch.call("SET", key, successor, "NX", "GET", "PX", milliseconds)
    return earlier or successor
