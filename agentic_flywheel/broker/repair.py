"""Put right what an audit found: a new message for each execution that nothing moves, and counts that are true."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import assert_never

from pydantic import ValidationError

from agentic_flywheel.broker import scripts, wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.declaration import UnexpectedReply
from agentic_flywheel.broker.messages import parcel_of
from agentic_flywheel.broker.stored import read_stored
from agentic_flywheel.broker.verdicts import Suspicion
from agentic_flywheel.catalog import Catalog
from agentic_flywheel.models import TERMINAL, Query, State

logger = logging.getLogger(__name__)

#: Whoever repairs by hand means it: no number of rebuilds before is too many.
_ANY_NUMBER = 2**31


async def repair(batch: Batch, catalog: Catalog, suspicions: Iterable[Suspicion]) -> list[Suspicion]:
    """Put right what can be; return it. Raises redis' own errors, BrokerUnavailable.

    A message that lies in a queue that nobody reads needs a worker, not another message. Unreadable messages, and keys
    that another program has written, are left for a person, and messages without a record to the worker that will find
    them so: but where they are parked, none may for long.
    """
    return [each for each in suspicions if await _put_right(batch, catalog, each)]


async def _put_right(batch: Batch, catalog: Catalog, suspicion: Suspicion) -> bool:
    offender = suspicion.offender
    if suspicion.step is not None:
        return suspicion.helped_by_a_message and await _send_again(batch, catalog, suspicion)
    match offender.kind:
        case "counter":
            domain, _, query_id = offender.id.partition(" ")
            await _recount(batch, domain, query_id)
        case "owner":
            owner, _, query_id = offender.id.partition(" ")
            counted = await scripts.recount(batch, owner=owner, id=query_id)
            logger.info("%s has %d queries under way, of %d bytes", owner, counted.open, counted.bytes)
        case "slot":
            flow, _, execution = offender.id.partition(" ")
            await batch.call("ZREM", wire.running_key(flow), execution)
        case "message" if suspicion.parked_in:
            await _take_out(batch, suspicion.parked_in, offender.id)
        case "queue":
            # Where the sweeps knew of it already, only a worker helps.
            return bool(await batch.call("SADD", wire.DELAYED_QUEUES, offender.id))
        case "record":
            key = wire.record_key(offender.id)
            await batch.call("EXPIRE", key, await batch.call("HGET", key, "ttl") or 86400)
        case _:
            return False
    return True


async def _take_out(batch: Batch, parked_in: str, execution: str) -> None:
    cursor = "0"
    while True:
        cursor, found = await batch.call("ZSCAN", parked_in, cursor, "MATCH", f"{execution}\n*", "COUNT", 300)
        # Pairs of an entry and its score, flat.
        for entry in found[::2]:
            await batch.call("ZREM", parked_in, entry)
        if cursor == "0":
            return


async def _recount(batch: Batch, domain: str, query_id: str) -> None:
    """Count a query where it belongs by now."""
    state, where = await batch.call("HMGET", wire.record_key(query_id), "state", "domain")
    opened = state is not None and state not in TERMINAL
    asks = state == State.INPUT_REQUIRED
    if domain == wire.ASKED:
        if not asks:
            await batch.call("ZREM", wire.ASKED, query_id)
    elif domain:
        there = opened and not asks and where == domain
        await batch.call("SADD" if there else "SREM", wire.open_in_key(domain), query_id)
    elif opened:
        await batch.call("ZADD", wire.OPEN, "NX", 0, query_id)
    else:
        await batch.call("ZREM", wire.OPEN, query_id)


async def _send_again(batch: Batch, catalog: Catalog, suspicion: Suspicion) -> bool:
    """Send an execution's message anew, by the workers' own script: it does nothing where the execution has moved."""
    step = suspicion.step
    assert step is not None
    part = step.part
    fields = ("query", "v", wire.field_of("flow", part), wire.field_of("at", part))
    written, version, flow, mover = await batch.call("HMGET", wire.record_key(step.query_id), *fields)
    if step.stage is None or int(version or 0) > wire.VERSION:
        logger.warning("query %s is left to the workers of its version, %s", step.query_id, version)
        return False
    if not part and (mover or "") != dict(suspicion.record)["at"]:
        return False
    try:
        query = read_stored(Query, written or "")
    except ValidationError as unreadable:
        logger.warning("query %s cannot be read, so it is left: %s", step.query_id, unreadable)
        return False
    parcel = parcel_of(catalog, step.stage, step.query_id, query, flow or part, part, version=int(version or 0))
    reply = await scripts.rebuild(
        batch, id=step.query_id, part=part, mover=mover or "", place=parcel.place, most=_ANY_NUMBER
    )
    match reply:
        case scripts.RebuildRebuilt() | scripts.RebuildLinedUp():
            return True
        case scripts.RebuildMoved():
            return False
        case scripts.RebuildExhausted():
            raise UnexpectedReply("rebuild", reply, "any number of rebuilds is allowed here")
        case _:
            assert_never(reply)
