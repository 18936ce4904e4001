"""One key that another program has written, or one record that cannot be read, keeps nothing else from being done."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from agentic_flywheel.asker import Asker
from agentic_flywheel.broker import scripts, wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.executions import Execution, ExecutionEnd
from agentic_flywheel.broker.fault_log import FaultLog
from agentic_flywheel.broker.messages import answer_parcel, classify_parcel, synthesis_parcel
from agentic_flywheel.broker.transitions import Transitions
from agentic_flywheel.broker.upkeep import Upkeep
from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.errors import BrokerUnavailable
from agentic_flywheel.ids import new_query_id
from agentic_flywheel.models import Query, Route, State, Target
from agentic_flywheel.settings import Settings

FLOW = Flow(key="t", id="t-1", domain="technical")
OTHER = Flow(key="u", id="u-1", domain="other")
CATALOG = Catalog(flows={"t": FLOW, "u": OTHER})
READS = ("classify", "domain.technical", "domain.other", "synthesis")
EVERYTHING_THERE = (*READS, *map(wire.backlog_key, READS))


@pytest.fixture
def transitions(batch: Batch) -> Transitions:
    return Transitions(batch, Settings())


@pytest.fixture
def upkeep(batch: Batch) -> Upkeep:
    return Upkeep(batch, Settings(), worker="w", traces=True)


async def routed(transitions: Transitions, *flows: Flow, **fields: Any) -> tuple[str, Query]:
    query, query_id = Query(question="Why?", **fields), new_query_id()
    await transitions.submit(
        query_id, query, query.written(), classify_parcel(query_id, query, query.written()), front="", domain=None
    )
    targets = tuple(Target(flow=flow.key, domain=flow.domain, confidence=0.9) for flow in flows)
    parts = {flow.key if len(flows) > 1 else "": flow for flow in flows}
    await transitions.route(
        query_id,
        version=wire.VERSION,
        route=Route(
            targets=targets, decision="single" if len(flows) == 1 else "fan_out", band="high", confidence=0.9
        ).model_dump_json(),
        flow=flows[0],
        intent="",
        event="{}",
        parcels={
            part: answer_parcel(query_id, query, flow, part, version=wire.VERSION) for part, flow in parts.items()
        },
        synthesis=synthesis_parcel(query_id, query, version=wire.VERSION) if len(flows) > 1 else None,
    )
    return query_id, query


def execution(query_id: str, flow: Flow, part: str = "") -> Execution:
    return Execution(query_id, part, flow, "", f"{query_id}|{part}" if part else query_id)


async def delayed(transitions: Transitions, flow: Flow, *, delay_ms: int = 0) -> str:
    query_id, asked = await routed(transitions, flow)
    parcel = answer_parcel(query_id, asked, flow, version=wire.VERSION)
    queue = wire.domain_queue(flow.domain)
    await transitions.come_back(execution(query_id, flow), parcel, queue=queue, delay_ms=delay_ms)
    return query_id


async def delayed_for_long(transitions: Transitions, flow: Flow) -> str:
    return await delayed(transitions, flow, delay_ms=10**7)


async def parked(
    transitions: Transitions, flow: Flow, *, part: str = "", query: tuple[str, Query] | None = None
) -> str:
    query_id, asked = query or await routed(transitions, flow)
    parcel = answer_parcel(query_id, asked, flow, part, version=wire.VERSION)
    await transitions.park(execution(query_id, flow, part), flow, parcel, reason="paused", priority=asked.priority)
    return query_id


async def in_queue(client: Redis, queue: str) -> list[str]:
    return [
        *map(str, await client.lrange(queue, 0, -1)),
        *map(str, await client.zrange(wire.backlog_key(queue), 0, -1)),
    ]


@pytest.mark.parametrize("way", [delayed, parked])
async def test_a_queue_whose_key_another_program_has_written_keeps_no_other_queue_waiting(
    transitions: Transitions,
    upkeep: Upkeep,
    batch: Batch,
    redis_client: Redis,
    way: Callable[[Transitions, Flow], Awaitable[str]],
) -> None:
    await redis_client.sadd(wire.PAUSED, "flow:t", "flow:u")
    waits = await way(transitions, FLOW)
    goes_on = await way(transitions, OTHER)
    await redis_client.delete(wire.PAUSED, *EVERYTHING_THERE)
    await redis_client.set("domain.technical", "x")
    swept = await upkeep.sweep(CATALOG, READS)
    assert swept.faults == ()
    assert [goes_on in raw for raw in await in_queue(redis_client, "domain.other")] == [True]

    # It waits beside its queue, is not taken for lost there, and comes back once the queue is one again.
    (entry,) = await batch.call("ZRANGE", wire.delayed_key("domain.technical"), 0, -1)
    assert entry.startswith(waits)
    assert await lost(batch, redis_client) == ()
    await redis_client.delete("domain.technical")
    await redis_client.zadd(wire.delayed_key("domain.technical"), {entry: 0})
    await upkeep.sweep(CATALOG, READS)
    assert [waits in raw for raw in await in_queue(redis_client, "domain.technical")] == [True]


async def test_a_query_for_a_queue_that_is_none_is_accepted_and_waits(
    transitions: Transitions, batch: Batch, redis_client: Redis
) -> None:
    await redis_client.set("classify", "x")
    query, query_id = Query(question="Why?"), new_query_id()
    parcel = classify_parcel(query_id, query, query.written())

    accepted = await transitions.submit(query_id, query, query.written(), parcel, front="", domain=None)

    assert accepted == scripts.SubmitAccepted()
    (entry,) = await batch.call("ZRANGE", wire.delayed_key("classify"), 0, -1)
    assert entry == f"{query_id}\n{parcel.place}"
    assert str(await redis_client.hget(wire.record_key(query_id), "at")).startswith("d\nclassify\n")


async def test_what_was_in_a_queue_that_was_overwritten_is_found_and_made_anew(
    transitions: Transitions, upkeep: Upkeep, batch: Batch, redis_client: Redis
) -> None:
    query_id, query = await routed(transitions, FLOW)
    await redis_client.set("domain.technical", "x")

    assert await lost(batch, redis_client) == (query_id,)
    mover = str(await redis_client.hget(wire.record_key(query_id), "at"))
    parcel = answer_parcel(query_id, query, FLOW, version=wire.VERSION)
    assert await upkeep.rebuild(query_id, "", mover, parcel) == scripts.RebuildRebuilt()
    assert await redis_client.zcard(wire.delayed_key("domain.technical")) == 1


@pytest.mark.parametrize(
    "key",
    [
        wire.delayed_key("domain.technical"),
        wire.parked_key("t"),
        wire.circuit_key("t"),
        wire.running_key("t"),
        wire.rate_key("t"),
        wire.roots_key("dead"),
        wire.alive_key("dead"),
        wire.knows_key("dead"),
        wire.settling_key("leader"),
        wire.followers_key("leader"),
        "the record",
        "the line of its session",
    ],
)
async def test_a_sweep_does_all_else_and_says_what_failed(
    transitions: Transitions,
    upkeep: Upkeep,
    redis_client: Redis,
    caplog: pytest.LogCaptureFixture,
    key: str,
) -> None:
    spoilt, _ = await routed(transitions, FLOW, session_id="s")
    for number in range(3):
        await redis_client.zadd(wire.DEADLINES, {spoilt if number == 0 else new_query_id(): number})
    expires, _ = await routed(transitions, OTHER)
    await redis_client.zadd(wire.DEADLINES, {expires: 10})
    waits = await delayed(transitions, OTHER)
    await redis_client.sadd(wire.PAUSED, "flow:t", "flow:u")
    await parked(transitions, FLOW)
    then = await parked(transitions, OTHER)
    await delayed(transitions, FLOW)
    await redis_client.sadd(wire.WORKERS, "dead")
    await redis_client.sadd(wire.SETTLING, "leader")
    await redis_client.set(wire.settling_key("leader"), '{"state": "failed", "outcome": {}}')
    await redis_client.delete(wire.PAUSED, *EVERYTHING_THERE)
    record = wire.record_key(spoilt)
    line = wire.line_key(await redis_client.hget(record, "session"))
    key = {"the record": record, "the line of its session": line}.get(key, key)
    await redis_client.delete(key)
    # No key of ours is a stream by these names, nor text that is JSON.
    await (redis_client.set(key, "{") if key == wire.settling_key("leader") else redis_client.xadd(key, {"x": "y"}))
    log = FaultLog()
    with caplog.at_level(logging.ERROR):
        swept = await upkeep.sweep(CATALOG, READS)
        log.note(swept.faults)
        log.note((await upkeep.sweep(CATALOG, READS)).faults)

    assert expires in swept.ended
    assert {each for each in (waits, then) for raw in await in_queue(redis_client, "domain.other") if each in raw} == {
        waits,
        then,
    }
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == len(set(said)) == len(set(swept.faults))
    harmless = (wire.alive_key("dead"), wire.knows_key("dead"), wire.rate_key("t"))
    assert bool(swept.faults) != (key in harmless), swept.faults


async def test_a_record_that_cannot_be_read_keeps_no_other_from_being_found_lost(
    transitions: Transitions, batch: Batch, redis_client: Redis
) -> None:
    spoilt, _ = await routed(transitions, FLOW)
    found, _ = await routed(transitions, FLOW)
    await redis_client.delete("domain.technical", wire.backlog_key("domain.technical"), wire.record_key(spoilt))
    await redis_client.set(wire.record_key(spoilt), "x")

    assert await lost(batch, redis_client) == (found,)
    # It is looked at again, but not at once.
    assert float(str(await redis_client.zscore(wire.OPEN, spoilt))) > float((await redis_client.time())[0]) * 1000


async def test_a_record_that_cannot_be_read_ends_no_other_lease(
    transitions: Transitions, redis_client: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    running = []
    for flow in (FLOW, OTHER):
        query_id, _ = await routed(transitions, flow)
        begun = await transitions.begin(execution(query_id, flow), flow, policy="use", attempts_max=3)
        assert isinstance(begun, scripts.BeginRun)
        running.append(execution(query_id, flow).fenced(begun.fence))
    spoilt, other = running
    await redis_client.delete(wire.record_key(spoilt.query_id))
    await redis_client.set(wire.record_key(spoilt.query_id), "x")
    await redis_client.pexpire(wire.lease_key(other.lease), 100)

    with caplog.at_level(logging.ERROR):
        assert await transitions.renew(running) == []

    assert await redis_client.pttl(wire.lease_key(other.lease)) > 1000
    assert f"execution {spoilt.query_id}: WRONGTYPE" in caplog.text


@pytest.mark.parametrize(
    ("setting", "value", "usual"), [("min-replicas-to-write", 1, 0), ("maxmemory", 1, 0)], ids=["replicas", "memory"]
)
async def test_what_the_server_refuses_to_all_is_no_fault_of_one(
    transitions: Transitions, redis_client: Redis, setting: str, value: int, usual: int
) -> None:
    """Its caller is told, and repeats the script."""
    query_id, _ = await routed(transitions, FLOW)
    begun = await transitions.begin(execution(query_id, FLOW), FLOW, policy="use", attempts_max=3)
    assert isinstance(begun, scripts.BeginRun)
    await redis_client.config_set(setting, value)
    try:
        with pytest.raises(BrokerUnavailable):
            await transitions.renew([execution(query_id, FLOW).fenced(begun.fence)])
    finally:
        await redis_client.config_set(setting, usual)


async def lost(batch: Batch, client: Redis) -> tuple[str, ...]:
    for _ in range(2):
        for query_id in await client.zrange(wire.OPEN, 0, -1):
            await client.zadd(wire.OPEN, {str(query_id): 0})
        found = await scripts.examine(
            batch, limit=100, confirm_ms=0, longest_ms=600_000, age_ms=10**9, patience_ms=60_000, settle_ms=0
        )
        assert isinstance(found, scripts.ExamineExamined)
        ids = found.ids
    return ids


# What has ended waits nowhere


@pytest.mark.parametrize("way", [delayed_for_long, parked])
@pytest.mark.parametrize("end", ["cancelled", "expired", "failed"])
async def test_what_has_ended_is_neither_parked_nor_delayed_any_more(
    transitions: Transitions,
    upkeep: Upkeep,
    redis_client: Redis,
    way: Callable[[Transitions, Flow], Awaitable[str]],
    end: str,
) -> None:
    await redis_client.sadd(wire.PAUSED, "flow:t")
    query_id, stays = await way(transitions, FLOW), await way(transitions, FLOW)
    key = wire.parked_key("t") if way is parked else wire.delayed_key("domain.technical")
    if end == "cancelled":
        await transitions.cancel([query_id], asker=Asker(), reason="")
    elif end == "expired":
        await redis_client.zadd(wire.DEADLINES, {query_id: 0})
        await upkeep.sweep(CATALOG, READS)
    else:
        failed = ExecutionEnd(State.FAILED, error="{}", failure="{}")
        await transitions.finish(execution(query_id, FLOW), failed, queue="q")

    assert [str(each).partition("\n")[0] for each in await redis_client.zrange(key, 0, -1)] == [stays]


async def test_the_parts_of_what_has_ended_are_not_parked_any_more(
    transitions: Transitions, redis_client: Redis
) -> None:
    await redis_client.sadd(wire.PAUSED, "flow:t", "flow:u")
    query = await routed(transitions, FLOW, OTHER)
    for flow in (FLOW, OTHER):
        await parked(transitions, flow, part=flow.key, query=query)
    assert await redis_client.exists(wire.parked_key("t"), wire.parked_key("u")) == 2

    await transitions.cancel([query[0]], asker=Asker(), reason="")

    assert await redis_client.exists(wire.parked_key("t"), wire.parked_key("u")) == 0


async def test_what_is_parked_twice_stands_there_once(transitions: Transitions, redis_client: Redis) -> None:
    await redis_client.sadd(wire.PAUSED, "flow:t")
    query = await routed(transitions, FLOW)
    for _ in range(2):  # two deliveries of one message
        await parked(transitions, FLOW, query=query)

    assert await redis_client.zcard(wire.parked_key("t")) == 1


@pytest.mark.parametrize("end", ["cancelled", "expired"])
async def test_who_follows_what_was_put_off_goes_on_when_that_is_ended(
    transitions: Transitions, upkeep: Upkeep, redis_client: Redis, end: str
) -> None:
    """The leader was called, and is to be called again after a pause: it counts as running."""
    query_id, asked = await routed(transitions, FLOW)
    leader, follower = execution(query_id, FLOW), await routed(transitions, FLOW)
    assert isinstance(await transitions.begin(leader, FLOW, policy="use", attempts_max=3), scripts.BeginRun)
    parcel = answer_parcel(*follower, FLOW, version=wire.VERSION)
    shared = Execution(follower[0], "", FLOW, "", leader.lease)
    assert isinstance(await transitions.attach(shared, parcel), scripts.AttachAttached)
    await transitions.come_back(
        leader,
        answer_parcel(query_id, asked, FLOW, version=wire.VERSION),
        queue="domain.technical",
        delay_ms=10**7,
    )
    await redis_client.delete(*EVERYTHING_THERE)
    if end == "cancelled":
        await transitions.cancel([query_id], asker=Asker(), reason="")
    else:
        await redis_client.zadd(wire.DEADLINES, {query_id: 0})
        await upkeep.sweep(CATALOG, READS)

    assert [follower[0] in raw for raw in await in_queue(redis_client, "domain.technical")] == [True]


async def test_who_follows_a_part_that_is_parked_goes_on_when_its_query_is_cancelled(
    transitions: Transitions, redis_client: Redis
) -> None:
    await redis_client.sadd(wire.PAUSED, "flow:t")
    query, follower = await routed(transitions, FLOW, OTHER), await routed(transitions, FLOW)
    await parked(transitions, FLOW, part="t", query=query)
    parcel = answer_parcel(*follower, FLOW, version=wire.VERSION)
    await redis_client.hset(wire.followers_key(f"{query[0]}|t"), follower[0], parcel.place)
    await redis_client.delete(*EVERYTHING_THERE)

    await transitions.cancel([query[0]], asker=Asker(), reason="")

    assert [follower[0] in raw for raw in await in_queue(redis_client, "domain.technical")] == [True]


async def test_nobody_attaches_to_a_call_whose_query_has_ended(transitions: Transitions, redis_client: Redis) -> None:
    """Its worker has met a fault and left the lease: no message would tell the end to those who attach."""
    query_id, _ = await routed(transitions, FLOW)
    leader, (other, asked) = execution(query_id, FLOW), await routed(transitions, FLOW)
    assert isinstance(await transitions.begin(leader, FLOW, policy="use", attempts_max=3), scripts.BeginRun)
    shared, parcel = (
        Execution(other, "", FLOW, "", leader.lease),
        answer_parcel(other, asked, FLOW, version=wire.VERSION),
    )
    assert isinstance(await transitions.begin(shared, FLOW, policy="use", attempts_max=3), scripts.BeginAttach)

    await transitions.cancel([query_id], asker=Asker(), reason="")
    begun = await transitions.begin(shared, FLOW, policy="use", attempts_max=3)

    assert isinstance(begun, scripts.BeginBusy)
    assert 0 < begun.wait_ms <= 5000
    assert isinstance(await transitions.attach(shared, parcel), scripts.AttachAgain)
    await redis_client.delete(wire.lease_key(leader.lease))
    assert isinstance(await transitions.begin(shared, FLOW, policy="use", attempts_max=3), scripts.BeginRun)
