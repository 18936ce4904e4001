"""What a person chose when asked which flow a question is for: the query that goes on in the first one's place."""

from __future__ import annotations

from datetime import timedelta

from agentic_flywheel import wire
from agentic_flywheel.batch import Batch
from agentic_flywheel.models import Record


def awaits_choice(record: Record) -> bool:
    """Return whether a query ended with the question which flow to ask."""
    return record.answer is not None and record.answer.kind == "clarify"


async def successor_of(batch: Batch, query_id: str) -> str | None:
    """Return the query that went on after the choice; None while nobody has chosen. Raises BrokerUnavailable."""
    found: str | None = await batch.call("GET", wire.successor_key(query_id))
    return found


async def succeed(batch: Batch, query_id: str, successor: str, *, ttl: timedelta) -> str:
    """Let ``successor`` go on for a query and return the one in force: the first choice stands.

    Raises BrokerUnavailable.
    """
    key, milliseconds = wire.successor_key(query_id), int(ttl.total_seconds() * 1000)
    earlier: str | None = await batch.call("SET", key, successor, "NX", "GET", "PX", milliseconds)
    return earlier or successor
