"""How many queries each queue has open, and for how long the oldest of them has waited: what a scaler decides on.

A queue's length does not tell it: a query whose turn has not come, that is delayed or parked, or that waits for an
identical one, stands in no list.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.clock import broker_now
from agentic_flywheel.catalog import Catalog
from agentic_flywheel.models import Model, State, WaitReason

#: Most queries of one queue whose age is looked at. They are drawn at random: of more, the oldest of these is found,
#: and on average 1 % of all are older.
SAMPLE = 100
_WAITS = frozenset((State.PENDING, State.QUEUED, State.WAITING))
#: No worker is missing for them: an identical query is answered already, or a person said that they should wait.
_NOT_FOR_WORKERS = frozenset((WaitReason.ATTACHED, WaitReason.PAUSED))


class QueueWait(Model):
    """The open queries of one queue."""

    queue: str
    #: Accepted and not ended, wherever they are: ready, delayed, parked, behind a turn of their session, in a call.
    open: int
    #: For how long the oldest one has waited that waits now, less the time in which it waited for a person. Zero where
    #: none waits. Those that wait for an identical query, or are paused, do not count.
    oldest: timedelta


async def read_waits(batch: Batch, catalog: Catalog, *, now: datetime | None = None) -> list[QueueWait]:
    """Return the open queries of each domain's queue, and those that are not routed yet as the classifying queue's.

    Raises BrokerUnavailable.
    """
    until = now or await broker_now(batch)
    domains = list(catalog.domains)
    keys = [wire.open_in_key(domain) for domain in domains]
    counts, accepted, asking, samples, anywhere = await asyncio.gather(
        asyncio.gather(*(batch.call("SCARD", key) for key in keys)),
        batch.call("ZCARD", wire.OPEN),
        batch.call("ZCARD", wire.ASKED),
        asyncio.gather(*(batch.call("SRANDMEMBER", key, SAMPLE) for key in keys)),
        batch.call("ZRANDMEMBER", wire.OPEN, SAMPLE),
    )
    ages = await asyncio.gather(*(_oldest(batch, ids, until) for ids in samples))
    unrouted = QueueWait(
        queue=wire.CLASSIFY_QUEUE,
        # Queries of a domain that the catalog no longer has are among them: no queue of its own serves them.
        open=max(0, int(accepted) - int(asking) - sum(map(int, counts))),
        oldest=await _oldest(batch, anywhere, until, unrouted=True),
    )
    return [
        unrouted,
        *(
            QueueWait(queue=wire.domain_queue(domain), open=int(count), oldest=age)
            for domain, count, age in zip(domains, counts, ages, strict=True)
        ),
    ]


async def _oldest(batch: Batch, ids: Sequence[str], until: datetime, *, unrouted: bool = False) -> timedelta:
    """Return the age of the oldest of these queries that waits; ``unrouted``: of those that are in no domain yet."""
    fields = ("state", "reason", "created", "person_ms", "domain")
    records = await asyncio.gather(*(batch.call("HMGET", wire.record_key(each), *fields) for each in ids))
    began = [
        float(created) + float(with_person or 0)
        for state, reason, created, with_person, domain in records
        if state in _WAITS and reason not in _NOT_FOR_WORKERS and created and not (unrouted and domain)
    ]
    return max(timedelta(), until - datetime.fromtimestamp(min(began) / 1000, UTC)) if began else timedelta()
