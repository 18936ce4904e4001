"""The broker's clock. The scripts date everything by it: who compares with their moments asks it, not its host."""

from __future__ import annotations

from datetime import UTC, datetime

from agentic_flywheel.broker.batch import Batch


async def broker_now(batch: Batch) -> datetime:
    """Return the broker's present moment. Raises BrokerUnavailable."""
    seconds, microseconds = await batch.call("TIME")
    return datetime.fromtimestamp(int(seconds), UTC).replace(microsecond=int(microseconds))
