"""What the audit's tests ask of a house: audits, offenders, and a worker that stands still."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from pipeline.house import House
from processes import end_waits

from agentic_flywheel.broker.audit import Audited, audit
from agentic_flywheel.broker.control import resume
from agentic_flywheel.broker.verdicts import Offender
from agentic_flywheel.registry import load_catalog
from producer import AsyncProducer

QUICK = timedelta(milliseconds=200)
#: A question for the technical flow, and one for it and another.
ASKED = "How do I connect python to database {}?"
OF_TWO = "Which database index does the join of case {} need? Which clause of the contract covers liability?"


def own(question: str) -> str:
    return question.format(uuid.uuid4().hex[:8])


async def audited(house: House, *, mend: bool = False) -> Audited:
    # Nothing of what is planted here is for the workers to find: they look at it in an hour.
    client: Any = house.client
    for query_id in client.zrange("flywheel:open", 0, -1):
        client.zadd("flywheel:open", {query_id: time.time() * 1000 + 3_600_000}, xx=True)
    return await audit(house.settings, mend=load_catalog(house.registry) if mend else None, pause=QUICK)


async def offenders(house: House, *, mend: bool = False) -> Audited:
    """Audit until there is an offender: the acknowledgement of what moved last may still be under way at first."""
    until = time.monotonic() + 30
    while not (found := await audited(house, mend=mend)).offenders:
        assert time.monotonic() < until, "the audit finds nothing"
    return found


async def only_offender(house: House) -> Offender:
    (only,) = (await offenders(house)).offenders
    return only


async def repaired_and_answered(house: House, producer: AsyncProducer, *query_ids: str) -> None:
    """What the audit repairs gets its answer once nothing hinders it, and leaves nothing behind."""
    found = await offenders(house, mend=True)
    assert found.left == ()
    house.reset()
    await resume(producer.batch, flow="technical-analysis")
    for query_id in query_ids:
        assert (await producer.wait(query_id, 60)).text
    assert (await audited(house)).offenders == ()


async def in_state(producer: AsyncProducer, query_id: str, state: str, reason: str = "") -> None:
    for _ in range(1500):
        record = await producer.status(query_id)
        if (record.state, record.reason) == (state, reason):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{query_id} is {record.state} {record.reason}, not {state} {reason}")


@asynccontextmanager
async def worker_stopped(house: House) -> AsyncIterator[None]:
    """Meanwhile messages lie where they are put. Shorter than a lease."""
    worker = house.workers[-1]
    os.kill(worker.pid, signal.SIGSTOP)
    end_waits(house.client)
    try:
        yield
    finally:
        os.kill(worker.pid, signal.SIGCONT)


def remove_delivery(house: House, query_id: str) -> None:
    tags = [tag for tag, entry in house.client.hgetall("flywheel:unacked").items() if query_id in entry]
    assert tags
    house.client.hdel("flywheel:unacked", *tags)
    house.client.zrem("flywheel:unacked_index", *tags)
