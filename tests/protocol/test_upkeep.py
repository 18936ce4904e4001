"""What finds a query that nothing moves: when it looks, what it takes for lost, and what it lets alone."""

from __future__ import annotations

import json

import pytest
from redis.asyncio import Redis

from agentic_flywheel.asker import Asker
from agentic_flywheel.broker import scripts, wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.executions import Execution
from agentic_flywheel.broker.messages import answer_parcel, classify_parcel
from agentic_flywheel.broker.transitions import Transitions
from agentic_flywheel.broker.upkeep import Upkeep
from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.ids import new_query_id
from agentic_flywheel.models import Query, Route, State, Target
from agentic_flywheel.settings import Settings

FLOW = Flow(key="t", id="t-1", domain="technical")
CATALOG = Catalog(flows={"t": FLOW})
ROUTE = Route(
    targets=(Target(flow="t", domain="technical", confidence=0.9),), decision="single", band="high", confidence=0.9
).model_dump_json()
EVERY_QUEUE = ("classify", "domain.technical", "synthesis")


@pytest.fixture
def transitions(batch: Batch) -> Transitions:
    return Transitions(batch, Settings())


async def submitted(transitions: Transitions, **fields: str) -> tuple[str, Query]:
    query, query_id = Query(question="Why?", **fields), new_query_id()
    parcel = classify_parcel(query_id, query, query.written())
    await transitions.submit(query_id, query, query.written(), parcel, front="", domain=None)
    return query_id, query


async def routed(transitions: Transitions, query_id: str, query: Query) -> None:
    await transitions.route(
        query_id,
        version=wire.VERSION,
        route=ROUTE,
        flow=FLOW,
        intent="",
        event="{}",
        parcels={"": answer_parcel(query_id, query, FLOW, version=wire.VERSION)},
    )


async def look(batch: Batch, *, due: bool = True, age_ms: int = 10**9) -> scripts.ExamineExamined:
    """Look at every open query as if its time had come; a first look only suspects."""
    if due:
        for query_id in await batch.call("ZRANGE", wire.OPEN, 0, -1):
            await batch.call("ZADD", wire.OPEN, 0, query_id)
    found = await scripts.examine(
        batch, limit=100, confirm_ms=0, longest_ms=600_000, age_ms=age_ms, patience_ms=60_000, settle_ms=0
    )
    assert isinstance(found, scripts.ExamineExamined)
    return found


async def lost(batch: Batch) -> tuple[str, ...]:
    await look(batch)
    return (await look(batch)).ids


async def test_a_query_is_not_looked_at_before_its_time(batch: Batch, transitions: Transitions) -> None:
    await submitted(transitions)

    assert (await look(batch, due=False)).looked == 0


async def test_a_query_that_waits_in_its_queue_is_let_alone(batch: Batch, transitions: Transitions) -> None:
    for _ in range(120):
        await submitted(transitions)

    assert await lost(batch) == ()


async def test_a_message_that_vanishes_is_found_at_the_second_look(
    batch: Batch, transitions: Transitions, redis_client: Redis
) -> None:
    query_id, _ = await submitted(transitions)
    await redis_client.rpop("classify")

    assert (await look(batch)).ids == ()
    found = await look(batch)

    assert (found.ids, found.parts, found.stages) == ((query_id,), ("",), ("classify",))


async def test_one_message_out_of_the_middle_is_found_when_its_turn_has_passed(
    batch: Batch, transitions: Transitions, redis_client: Redis
) -> None:
    ids = [(await submitted(transitions))[0] for _ in range(5)]
    behind = wire.backlog_key("classify")
    _, middle, *_ = await redis_client.zrange(behind, 0, -1)
    await redis_client.zrem(behind, str(middle))
    assert await lost(batch) == ()

    await redis_client.rpop("classify")
    await redis_client.zpopmin(behind)

    assert set(await lost(batch)) == set(ids[:3]), "those behind it still wait"


async def test_a_delivery_in_a_workers_hands_is_let_alone_also_after_a_redelivery(
    batch: Batch, transitions: Transitions, redis_client: Redis
) -> None:
    await submitted(transitions)
    message = await redis_client.rpop("classify")
    tag = json.loads(str(message))["properties"]["delivery_tag"]

    for known in (tag, f"{tag}~1", f"{tag}~4"):
        await redis_client.delete(wire.UNACKED, wire.UNACKED_INDEX)
        await redis_client.hset(wire.UNACKED, known, "[]")
        assert await lost(batch) == ()
        assert await redis_client.zscore(wire.UNACKED_INDEX, known), "without it nobody would redeliver"


async def test_a_call_whose_lease_is_renewed_is_let_alone_whatever_became_of_its_message(
    batch: Batch, transitions: Transitions, redis_client: Redis
) -> None:
    query_id, query = await submitted(transitions)
    await routed(transitions, query_id, query)
    begun = await transitions.begin(Execution(query_id, "", FLOW, "", query_id), FLOW, policy="use", attempts_max=9)
    assert isinstance(begun, scripts.BeginRun)
    await redis_client.delete(*EVERY_QUEUE)

    assert await lost(batch) == ()
    await redis_client.delete(wire.running_key("t"))
    assert await lost(batch) == (query_id,)


async def test_a_rebuild_uses_up_no_attempt_and_nothing_is_rebuilt_twice(
    batch: Batch, transitions: Transitions, redis_client: Redis
) -> None:
    query_id, query = await submitted(transitions)
    await routed(transitions, query_id, query)
    execution = Execution(query_id, "", FLOW, "", query_id)
    await transitions.begin(execution, FLOW, policy="use", attempts_max=9)
    await redis_client.delete(*EVERY_QUEUE, wire.running_key("t"))
    await look(batch)
    (mover,) = (await look(batch)).movers
    upkeep = Upkeep(batch, Settings(), worker="w", traces=False)

    said = [
        await upkeep.rebuild(query_id, "", mover, answer_parcel(query_id, query, FLOW, version=wire.VERSION))
        for _ in range(2)
    ]

    assert said == [scripts.RebuildRebuilt(), scripts.RebuildMoved()]
    assert await redis_client.llen("domain.technical") == 1
    assert await redis_client.hget(wire.record_key(query_id), "attempts") == "0"
    assert await redis_client.hget(wire.record_key(query_id), "state") == State.QUEUED


async def test_what_is_lost_again_and_again_is_given_up(
    batch: Batch, transitions: Transitions, redis_client: Redis
) -> None:
    query_id, query = await submitted(transitions)
    upkeep = Upkeep(batch, Settings(), worker="w", traces=False)
    said: list[scripts.RebuildReply] = []

    for _ in range(9):
        await redis_client.delete("classify")
        mover = await redis_client.hget(wire.record_key(query_id), "at")
        parcel = classify_parcel(query_id, query, query.written())
        said.append(await upkeep.rebuild(query_id, "", str(mover), parcel))

    assert said == [scripts.RebuildRebuilt()] * 8 + [scripts.RebuildExhausted()]


async def test_a_query_beyond_the_age_limit_expires_and_leaves_nothing(
    batch: Batch, transitions: Transitions, redis_client: Redis
) -> None:
    query_id, _ = await submitted(transitions, session_id="s")

    found = await look(batch, age_ms=-1)

    assert found.expired == (query_id,)
    assert await redis_client.hget(wire.record_key(query_id), "state") == State.EXPIRED
    assert await redis_client.zcard(wire.OPEN) == 0
    assert not await redis_client.exists(wire.line_key(Asker().session_name("s")))


async def test_a_queue_that_no_living_worker_reads_is_named(batch: Batch, transitions: Transitions) -> None:
    query_id, query = await submitted(transitions)
    await routed(transitions, query_id, query)
    upkeep = Upkeep(batch, Settings(), worker="w", traces=False)

    await upkeep.sweep(CATALOG, ["classify"])
    unread = (await look(batch)).unread
    await upkeep.sweep(CATALOG, EVERY_QUEUE)

    assert unread == ("domain.technical",)
    assert (await look(batch)).unread == ()


async def test_nothing_is_judged_right_after_a_start_of_the_server(batch: Batch) -> None:
    found = await scripts.examine(
        batch, limit=100, confirm_ms=0, longest_ms=1, age_ms=10**9, patience_ms=1, settle_ms=100 * 366 * 86_400_000
    )

    assert isinstance(found, scripts.ExamineSettling)


async def test_a_query_whose_record_is_gone_is_forgotten(batch: Batch, redis_client: Redis) -> None:
    await redis_client.zadd(wire.OPEN, {"nobody": 0})

    await look(batch)

    assert await redis_client.zcard(wire.OPEN) == 0


async def test_what_is_parked_or_delayed_for_a_flow_that_left_comes_back(
    batch: Batch, transitions: Transitions, redis_client: Redis
) -> None:
    upkeep = Upkeep(batch, Settings(), worker="w", traces=False)
    gone = FLOW.model_copy(update={"key": "gone", "domain": "left"})
    for number, way in enumerate(("park", "delay")):
        query_id, query = await submitted(transitions)
        await routed(transitions, query_id, query)
        execution, parcel = (
            Execution(query_id, "", gone, "", query_id),
            answer_parcel(query_id, query, gone, version=wire.VERSION),
        )
        if way == "park":
            await redis_client.sadd(wire.PAUSED, "flow:gone")
            await transitions.park(execution, gone, parcel, reason="paused", priority=query.priority)
        else:
            await transitions.come_back(execution, parcel, queue="domain.left", delay_ms=0)
        await upkeep.sweep(CATALOG, EVERY_QUEUE)
        assert await redis_client.llen("domain.left") == number + 1


@pytest.mark.parametrize("way", ["park", "delay"])
@pytest.mark.parametrize("how", ["a look", "a rebuild"])
async def test_what_waits_where_no_sweep_looks_any_more_is_swept_again(
    batch: Batch, transitions: Transitions, redis_client: Redis, way: str, how: str
) -> None:
    """The sweeps' lists of delayed sets and of flows for which something is parked can be lost, and the sets not."""
    query_id, query = await submitted(transitions)
    await routed(transitions, query_id, query)
    execution = Execution(query_id, "", FLOW, "", query_id)
    parcel = answer_parcel(query_id, query, FLOW, version=wire.VERSION)
    if way == "park":
        await redis_client.sadd(wire.PAUSED, "flow:t")
        await transitions.park(execution, FLOW, parcel, reason="paused", priority=query.priority)
    else:
        await transitions.come_back(execution, parcel, queue="domain.technical", delay_ms=0)
    await redis_client.delete(wire.PAUSED, wire.PARKED_FLOWS, wire.DELAYED_QUEUES, *EVERY_QUEUE)
    upkeep = Upkeep(batch, Settings(), worker="w", traces=False)

    if how == "a look":
        assert await lost(batch) == ()
    else:
        mover = await redis_client.hget(wire.record_key(query_id), "at")
        assert await upkeep.rebuild(query_id, "", str(mover), parcel) == scripts.RebuildRebuilt()
        await redis_client.delete("domain.technical")
    await upkeep.sweep(CATALOG, EVERY_QUEUE)

    assert await redis_client.llen("domain.technical") == 1
    assert not await redis_client.exists(wire.parked_key("t"), wire.delayed_key("domain.technical"))


async def test_what_waits_and_cannot_be_read_goes_into_no_list_but_that_of_what_is_unreadable(
    batch: Batch, transitions: Transitions, redis_client: Redis
) -> None:
    upkeep = Upkeep(batch, Settings(), worker="w", traces=False)
    query_id, query = await submitted(transitions)
    parcel = answer_parcel(query_id, query, FLOW, version=wire.VERSION)
    await redis_client.sadd(wire.DELAYED_QUEUES, "domain.technical")
    await redis_client.hset(wire.PARKED_FLOWS, "t", "")
    garbage = ("a\nb\nelsewhere\nd", "no lines", "a\nb\n\nd", "", "x\n" * 9)
    for key in (wire.delayed_key("domain.technical"), wire.parked_key("t")):
        await redis_client.zadd(key, dict.fromkeys(garbage, 0) | {f"{query_id}\n{parcel.place}": 1})
    keys = {key for key in await redis_client.keys() if await redis_client.type(key) == "list"}
    await upkeep.sweep(CATALOG, EVERY_QUEUE)

    assert await redis_client.lrange("domain.technical", 0, -1) == [parcel.message] * 2
    assert sorted(await redis_client.lrange(wire.UNREADABLE, 0, -1)) == sorted(garbage * 2)
    assert await redis_client.get(wire.UNREADABLE_COUNT) == str(2 * len(garbage))
    lists = {key for key in await redis_client.keys() if await redis_client.type(key) == "list"}
    assert lists - keys == {"domain.technical", wire.UNREADABLE}
