"""Pause and resume domains and flows, and read the lengths of the queues.

Queries for a paused domain or flow are still accepted; they wait until it is resumed.
"""

from __future__ import annotations

import asyncio

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.catalog import Catalog
from agentic_flywheel.models import Model


class Paused(Model):
    """The paused domains and flows, by name and by key."""

    domains: tuple[str, ...] = ()
    flows: tuple[str, ...] = ()


class QueueLength(Model):
    """The number of queries that wait in one queue, all its priority bands together."""

    queue: str
    #: In the queue's lists and their backlogs: the next free worker takes them.
    ready: int
    #: In the queue's delayed set: they return to the queue at a set time, such as that of a retry.
    delayed: int
    #: In the parked sets of the queue's flows: the flow is paused, at a limit, or its circuit is open.
    parked: int


async def pause(batch: Batch, *, domain: str | None = None, flow: str | None = None) -> bool:
    """Pause one domain or one flow. Returns False where it was paused already.

    Raises ValueError unless exactly one is named; BrokerUnavailable.
    """
    return bool(await batch.call("SADD", wire.PAUSED, _member(domain, flow)))


async def resume(batch: Batch, *, domain: str | None = None, flow: str | None = None) -> bool:
    """Resume one domain or one flow. Returns False where it was not paused.

    Raises ValueError unless exactly one is named; BrokerUnavailable.
    """
    return bool(await batch.call("SREM", wire.PAUSED, _member(domain, flow)))


async def read_paused(batch: Batch) -> Paused:
    """Return the paused domains and flows. Raises BrokerUnavailable."""
    members = sorted(await batch.call("SMEMBERS", wire.PAUSED))
    return Paused(
        domains=tuple(filter(None, map(wire.paused_domain_member.of, members))),
        flows=tuple(filter(None, map(wire.paused_flow_member.of, members))),
    )


async def queue_lengths(batch: Batch, catalog: Catalog) -> list[QueueLength]:
    """Return the length of each queue that a catalog needs. Raises BrokerUnavailable."""
    flows = {wire.domain_queue(domain): [flow.key for flow in found] for domain, found in catalog.domains.items()}
    queues: dict[str, list[str]] = {wire.CLASSIFY_QUEUE: [], **flows, wire.SYNTHESIS_QUEUE: []}
    return list(await asyncio.gather(*(_length(batch, queue, keys) for queue, keys in queues.items())))


async def _length(batch: Batch, queue: str, flows: list[str]) -> QueueLength:
    ready, delayed, parked = await asyncio.gather(
        asyncio.gather(
            *(batch.call("LLEN", band) for band in wire.bands(queue)),
            *(batch.call("ZCARD", wire.backlog_key(band)) for band in wire.bands(queue)),
        ),
        batch.call("ZCARD", wire.delayed_key(queue)),
        asyncio.gather(*(batch.call("ZCARD", wire.parked_key(flow)) for flow in flows)),
    )
    return QueueLength(queue=queue, ready=sum(ready), delayed=delayed, parked=sum(parked))


def _member(domain: str | None, flow: str | None) -> str:
    if (domain is None) == (flow is None):
        raise ValueError("name one domain or one flow")
    return f"domain:{domain}" if domain is not None else f"flow:{flow}"
