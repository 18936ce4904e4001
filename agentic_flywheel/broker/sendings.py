"""Sendings: a client that repeats a request by itself and counts is given the number of the request's first sending.

A request is named by a digest of what was sent and by whom. Each first sending has a number of its own, so the same
request that is sent once more on purpose is told from one that is repeated.
"""

from __future__ import annotations

import secrets
from datetime import timedelta

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.batch import Batch


async def number_of_sending(batch: Batch, digest: str, *, again: bool, ttl: timedelta) -> str:
    """Return the number of a request's latest first sending; a new one unless it is sent ``again``.

    Also new where the first sending never came here, or longer ago than ``ttl``. Raises BrokerUnavailable.
    """
    key, seconds = wire.sending_key(digest), int(ttl.total_seconds())
    if again:
        number: str | None = await batch.call("GET", key)
        if number is not None:
            await batch.call("EXPIRE", key, seconds)
            return number
    number = secrets.token_hex(8)
    await batch.call("SET", key, number, "EX", seconds)
    return number
