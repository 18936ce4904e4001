"""Hold domains and flows, let them go on, and see what waits in the queues. A held query waits; none is refused."""

from __future__ import annotations

import asyncio

from agentic_flywheel import wire
from agentic_flywheel.batch import Batch
from agentic_flywheel.catalog import Catalog
from agentic_flywheel.models import Model


class Held(Model):
    """The domains and flows that are paused."""

    domains: tuple[str, ...] = ()
    flows: tuple[str, ...] = ()


class QueueLength(Model):
    """One queue and how many queries wait in it, over all its priority bands."""

    queue: str
    #: Ready for the next worker.
    ready: int
    #: Before their time: a retry, a busy session.
    delayed: int
    #: Beside the queue until their flow may be called: paused, at its limit, its circuit open.
    parked: int


async def hold(batch: Batch, *, domain: str | None = None, flow: str | None = None) -> bool:
    """Pause a domain or a flow. Returns False where it was paused already. Raises BrokerUnavailable."""
    return bool(await batch.call("SADD", wire.PAUSED, _member(domain, flow)))


async def let_go(batch: Batch, *, domain: str | None = None, flow: str | None = None) -> bool:
    """Let a paused domain or flow go on. Returns False where it was not paused. Raises BrokerUnavailable."""
    return bool(await batch.call("SREM", wire.PAUSED, _member(domain, flow)))


async def held(batch: Batch) -> Held:
    """Return what is paused. Raises BrokerUnavailable."""
    members = [member.partition(":") for member in sorted(await batch.call("SMEMBERS", wire.PAUSED))]
    return Held(
        domains=tuple(name for kind, _, name in members if kind == "domain"),
        flows=tuple(name for kind, _, name in members if kind == "flow"),
    )


async def queue_lengths(batch: Batch, catalog: Catalog) -> list[QueueLength]:
    """Return how long each queue of a catalog is. Raises BrokerUnavailable."""
    flows = {wire.domain_queue(domain): [flow.key for flow in found] for domain, found in catalog.domains.items()}
    queues: dict[str, list[str]] = {wire.CLASSIFY_QUEUE: [], **flows, wire.SYNTHESIS_QUEUE: []}
    return list(await asyncio.gather(*(_length(batch, queue, keys) for queue, keys in queues.items())))


async def _length(batch: Batch, queue: str, flows: list[str]) -> QueueLength:
    ready, delayed, parked = await asyncio.gather(
        asyncio.gather(*(batch.call("LLEN", band) for band in wire.bands(queue))),
        batch.call("ZCARD", f"{wire.PREFIX}delayed:{queue}"),
        asyncio.gather(*(batch.call("ZCARD", f"{wire.PREFIX}parked:{flow}") for flow in flows)),
    )
    return QueueLength(queue=queue, ready=sum(ready), delayed=delayed, parked=sum(parked))


def _member(domain: str | None, flow: str | None) -> str:
    if (domain is None) == (flow is None):
        raise ValueError("name one domain or one flow")
    return f"domain:{domain}" if domain is not None else f"flow:{flow}"
