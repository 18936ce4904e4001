"""Each thing that moves a query is taken away: the audit names the query, says why, and brings it back."""

from __future__ import annotations

import asyncio
import uuid

from pipeline.house import TECHNICAL, House
from processes import wait_for

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.audit import Audited
from agentic_flywheel.broker.control import pause
from agentic_flywheel.broker.messages import answer_parcel
from agentic_flywheel.models import Query
from agentic_flywheel.registry import load_catalog
from audit.house import (
    ASKED,
    OF_TWO,
    audited,
    in_state,
    offenders,
    only_offender,
    own,
    remove_delivery,
    repaired_and_answered,
    worker_stopped,
)
from producer import AsyncProducer


async def test_a_stack_at_rest_has_no_offender(house: House, producer: AsyncProducer) -> None:
    await producer.ask(own(ASKED), wait=30)

    assert await audited(house) == Audited(open=0, offenders=())


async def test_a_query_whose_message_is_gone_is_named_and_repaired(house: House, producer: AsyncProducer) -> None:
    async with worker_stopped(house):
        query_id = (await producer.submit(own(ASKED))).query_id
        house.client.delete("classify")
    found = await only_offender(house)

    assert (found.kind, found.id, found.state) == ("query", query_id, "pending")
    assert found.waits_for == "its classification"
    assert "no message, delivery, delayed or parked entry" in found.why
    await repaired_and_answered(house, producer, query_id)


async def test_a_query_whose_delivery_is_gone_is_named(house: House, producer: AsyncProducer) -> None:
    house.behave(TECHNICAL, latency=20)
    query_id = (await producer.submit(own(ASKED))).query_id
    await in_state(producer, query_id, "running")
    remove_delivery(house, query_id)
    found = await only_offender(house)

    assert (found.id, found.state, found.waits_for) == (query_id, "running", "flow technical-analysis")
    await producer.cancel(query_id)


async def test_a_delivery_without_a_lease_is_no_mover(house: House, producer: AsyncProducer) -> None:
    house.behave(TECHNICAL, latency=20)
    query_id = (await producer.submit(own(ASKED))).query_id
    await in_state(producer, query_id, "running")
    house.client.delete("flywheel:unacked_index")
    found = await only_offender(house)

    assert found.id == query_id
    assert "its delivery has no lease" in found.why
    await producer.cancel(query_id)


async def test_a_query_whose_parked_message_is_gone_is_named_and_repaired(
    house: House, producer: AsyncProducer
) -> None:
    await pause(producer.batch, flow="technical-analysis")
    query_id = (await producer.submit(own(ASKED))).query_id
    await in_state(producer, query_id, "waiting", "paused")
    assert (await audited(house)).offenders == ()
    house.client.delete("flywheel:parked:technical-analysis")
    found = await only_offender(house)

    assert (found.id, found.state) == (query_id, "waiting: paused")
    await repaired_and_answered(house, producer, query_id)


async def test_a_query_parked_for_a_flow_that_nobody_serves_is_named(house: House, producer: AsyncProducer) -> None:
    await pause(producer.batch, flow="technical-analysis")
    query_id = (await producer.submit(own(ASKED))).query_id
    await in_state(producer, query_id, "waiting", "paused")
    house.client.rename("flywheel:parked:technical-analysis", "flywheel:parked:former")
    found = await only_offender(house)

    assert found.id == query_id
    assert "parked for flow former, which no living worker's sweep looks after" in found.why
    house.client.delete("flywheel:parked:former")
    await repaired_and_answered(house, producer, query_id)


async def test_a_query_whose_retry_is_gone_is_named_and_repaired(house: House, producer: AsyncProducer) -> None:
    house.behave(TECHNICAL, rate_limit={"calls": 1, "seconds": 60})
    first = await producer.submit(own(ASKED))
    await producer.wait(first.query_id, 30)
    query_id = (await producer.submit(own(ASKED))).query_id
    await in_state(producer, query_id, "waiting", "retry")
    house.client.delete("flywheel:delayed:domain.technical")
    found = await only_offender(house)

    assert (found.id, found.state) == (query_id, "waiting: retry")
    house.reset()
    house.client.delete("flywheel:circuit:technical-analysis")
    await repaired_and_answered(house, producer, query_id)


async def test_a_sweep_that_brings_nothing_back_is_named_and_made_to(house: House, producer: AsyncProducer) -> None:
    """It does not know that there is something in this queue's delayed set: an earlier message of what has ended."""
    query_id = (await producer.ask(own(ASKED), wait=30)).query_id
    flow = load_catalog(house.registry).flows["technical-analysis"]
    parcel = answer_parcel(query_id, Query(question=ASKED), flow, version=wire.VERSION)
    # The sweep knows of this set until it has found it empty, such as after the retry of an earlier test.
    await asyncio.to_thread(
        wait_for, lambda: not house.client.sismember(wire.DELAYED_QUEUES, "domain.technical"), what="it looks no more"
    )
    house.client.zadd("flywheel:delayed:domain.technical", {f"{query_id}\n{parcel.place}": 1})
    found = await audited(house, mend=True)

    assert [(each.kind, each.id) for each in found.repaired] == [("queue", "domain.technical")]
    assert found.left == ()
    await asyncio.to_thread(
        wait_for, lambda: not house.client.exists("flywheel:delayed:domain.technical"), what="the sweep brings it back"
    )


async def test_a_turn_whose_message_is_not_held_is_named_and_repaired(house: House, producer: AsyncProducer) -> None:
    house.behave(TECHNICAL, latency=2.5)
    session = f"s-{uuid.uuid4().hex[:8]}"
    first = (await producer.submit(own(ASKED), session_id=session)).query_id
    query_id = (await producer.submit(own(ASKED), session_id=session)).query_id
    house.client.hdel(wire.waiting_turns_key(producer.asker.session_name(session)), query_id)
    found = await only_offender(house)

    assert (found.id, found.state) == (query_id, "waiting: session")
    assert found.waits_for == f"its turn in session {session}"
    assert "not kept beside the line" in found.why
    await repaired_and_answered(house, producer, first, query_id)


async def test_a_line_without_its_head_is_named_and_repaired(house: House, producer: AsyncProducer) -> None:
    house.behave(TECHNICAL, latency=2.5)
    session = f"s-{uuid.uuid4().hex[:8]}"
    first = (await producer.submit(own(ASKED), session_id=session)).query_id
    second, third = [(await producer.submit(own(ASKED), session_id=session)).query_id for _ in range(2)]
    house.client.lpop(wire.line_key(producer.asker.session_name(session)))
    found = await only_offender(house)

    assert found.id == second
    assert "heads the line" in found.why
    await repaired_and_answered(house, producer, first, second, third)


async def test_a_line_whose_head_has_ended_is_named_and_repaired(house: House, producer: AsyncProducer) -> None:
    house.behave(TECHNICAL, latency=2.5)
    session = f"s-{uuid.uuid4().hex[:8]}"
    first = (await producer.submit(own(ASKED), session_id=session)).query_id
    second = (await producer.submit(own(ASKED), session_id=session)).query_id
    house.client.lpush(wire.line_key(producer.asker.session_name(session)), first, "ended-long-ago")
    found = await only_offender(house)

    assert found.id == second
    assert "the head of the line" in found.why
    await repaired_and_answered(house, producer, first, second)
    house.client.delete(wire.line_key(producer.asker.session_name(session)))


async def test_a_follower_that_its_leader_does_not_know_is_named_and_repaired(
    house: House, producer: AsyncProducer
) -> None:
    house.behave(TECHNICAL, latency=2.5)
    question = own(ASKED)
    leader, follower = [(await producer.submit(question)).query_id for _ in range(2)]
    await in_state(producer, follower, "waiting", "attached")
    house.client.delete(f"flywheel:followers:{leader}")
    found = await only_offender(house)

    assert (found.id, found.waits_for) == (follower, f"the answer of {leader}")
    assert f"not among the followers of {leader}" in found.why
    await repaired_and_answered(house, producer, leader, follower)


async def test_a_follower_of_one_that_is_gone_is_named_and_repaired(house: House, producer: AsyncProducer) -> None:
    async with worker_stopped(house):
        question = own(ASKED)
        leader, follower = [(await producer.submit(question)).query_id for _ in range(2)]
        house.client.delete("classify", f"flywheel:query:{leader}")
        house.client.zrem("flywheel:open", leader)
    found = await only_offender(house)

    assert found.id == follower
    assert f"it follows {leader}, which has ended" in found.why
    await repaired_and_answered(house, producer, follower)


async def test_followers_in_a_circle_are_named(house: House, producer: AsyncProducer) -> None:
    async with worker_stopped(house):
        question = own(ASKED)
        leader, follower = [(await producer.submit(question)).query_id for _ in range(2)]
        house.client.delete("classify")
        house.client.hset(f"flywheel:followers:{follower}", leader, "tag\nclassify\n{}")
    found = await offenders(house)

    assert {each.id for each in found.offenders} == {leader, follower}
    assert all("lead back to itself" in each.why for each in found.offenders)
    house.client.delete(f"flywheel:followers:{follower}")
    await repaired_and_answered(house, producer, leader, follower)


async def parted(house: House, producer: AsyncProducer) -> str:
    """Return a fanned-out query of which one part is done and the technical one is parked."""
    await pause(producer.batch, flow="technical-analysis")
    query_id = (await producer.submit(own(OF_TWO))).query_id
    await asyncio.to_thread(
        wait_for,
        lambda: (
            house.client.hlen(f"flywheel:parts:{query_id}") == 1
            and house.client.zcard("flywheel:parked:technical-analysis") == 1
        ),
        what="one part is done, one parked",
    )
    return query_id


async def test_a_part_whose_message_is_gone_is_named_and_repaired(house: House, producer: AsyncProducer) -> None:
    query_id = await parted(house, producer)
    assert (await audited(house)).offenders == ()
    house.client.delete("flywheel:parked:technical-analysis")
    found = await only_offender(house)

    assert (found.kind, found.id) == ("part", f"{query_id}|technical-analysis")
    assert found.waits_for == "flow technical-analysis"
    await repaired_and_answered(house, producer, query_id)


async def test_a_synthesis_whose_message_is_gone_is_named_and_repaired(house: House, producer: AsyncProducer) -> None:
    query_id = await parted(house, producer)
    house.client.delete("flywheel:parked:technical-analysis")
    (done,) = house.client.hvals(f"flywheel:parts:{query_id}")
    house.client.hset(f"flywheel:parts:{query_id}", "technical-analysis", done)
    found = await only_offender(house)

    assert (found.kind, found.id, found.waits_for) == ("synthesis", query_id, "the synthesis of its parts")
    await repaired_and_answered(house, producer, query_id)
