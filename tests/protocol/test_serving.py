"""When an execution is handed on, how long it waits, and what a worker may do with the records of a later version."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from agentic_flywheel.asker import Asker
from agentic_flywheel.broker import scripts, wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.messages import answer_parcel, classify_parcel
from agentic_flywheel.broker.transitions import Transitions
from agentic_flywheel.broker.upkeep import Upkeep
from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.ids import new_query_id
from agentic_flywheel.models import Query, Route, Target, WaitReason
from agentic_flywheel.settings import Settings

FLOW = Flow(key="t", id="t-1", domain="technical")
CATALOG = Catalog(flows={"t": FLOW})
ROUTE = Route(
    targets=(Target(flow="t", domain="technical", confidence=0.9),), decision="single", band="high", confidence=0.9
).model_dump_json()
SETTINGS = Settings(unserved_timeout=timedelta(seconds=60))


@pytest.fixture
def transitions(batch: Batch) -> Transitions:
    return Transitions(batch, SETTINGS)


async def submitted(transitions: Transitions) -> tuple[str, Query]:
    query, query_id = Query(question="Why?"), new_query_id()
    parcel = classify_parcel(query_id, query, query.written())
    await transitions.submit(query_id, query, query.written(), parcel, front="", domain=None)
    return query_id, query


async def route(transitions: Transitions, query_id: str, query: Query, version: int = 1) -> scripts.RouteReply:
    parcels = {"": answer_parcel(query_id, query, FLOW, version=version)}
    return await transitions.route(
        query_id, version=version, route=ROUTE, flow=FLOW, intent="", event="{}", parcels=parcels
    )


async def live(
    batch: Batch, worker: str, names: Sequence[str] = (), reads: Sequence[str] = ("classify",), version: int = 1
) -> None:
    """Have a worker live that has this version, knows these names and reads these queues."""
    upkeep = Upkeep(batch, SETTINGS, worker=worker, traces=False)
    await upkeep.announce("1", lambda: list(names))
    await upkeep.sweep(CATALOG, reads)
    await batch.call("HSET", wire.alive_key(worker), "version", version)


async def hand_on(batch: Batch, query_id: str, query: Query, **given: Any) -> scripts.HandOnReply:
    parcel = classify_parcel(query_id, query, query.written())
    asked: dict[str, Any] = {"names": ["flow novel"], "version": 1, "stage": "classify", "flow": "", **given}
    upkeep = Upkeep(batch, SETTINGS, worker="w", traces=False)
    return await upkeep.hand_on(query_id, "", parcel, reason=WaitReason.REGISTRY, **asked)


async def unserved_for(batch: Batch, query_id: str, seconds: float) -> None:
    """Have so much time pass for a query that was handed on, while a worker looked at it now and then."""
    first, last, since = map(float, (await batch.call("HGET", wire.record_key(query_id), "offered|")).split())
    past = f"{first - seconds * 1000:.0f} {last:.0f} {since - seconds * 1000:.0f}"
    await batch.call("HSET", wire.record_key(query_id), "offered|", past)


async def test_a_query_that_is_handed_on_waits_with_its_reason_and_comes_back_in_its_queue(
    batch: Batch, transitions: Transitions, redis_client: Redis
) -> None:
    query_id, query = await submitted(transitions)
    await redis_client.delete("classify")
    assert await hand_on(batch, query_id, query) == scripts.HandOnWaits()

    record: Any = await redis_client.hgetall(wire.record_key(query_id))
    assert (record["state"], record["reason"], record["v"]) == ("waiting", "registry", "1")
    assert record["at"].startswith("d\nclassify\n")
    (entry,) = await batch.call("ZRANGE", wire.delayed_key("classify"), 0, -1)
    await batch.call("ZADD", wire.delayed_key("classify"), 0, entry)
    await Upkeep(batch, SETTINGS, worker="w", traces=False).sweep(CATALOG, ["classify"])
    (raw,) = await redis_client.lrange("classify", 0, -1)
    assert json.loads(raw)["headers"]["v"] == 1
    assert isinstance(await route(transitions, query_id, query), scripts.RouteRouted)
    record = await redis_client.hgetall(wire.record_key(query_id))
    assert (record["state"], record["reason"]) == ("queued", "")


async def test_it_ends_once_nobody_could_have_served_it_for_so_long(batch: Batch, transitions: Transitions) -> None:
    query_id, query = await submitted(transitions)
    await hand_on(batch, query_id, query)
    await unserved_for(batch, query_id, 59)
    assert await hand_on(batch, query_id, query) == scripts.HandOnWaits()
    await unserved_for(batch, query_id, 2)

    assert await hand_on(batch, query_id, query) == scripts.HandOnUnserved()


@pytest.mark.parametrize(
    "worker",
    [
        {"names": ["flow other"]},
        {"names": ["flow novel"], "version": 0},
        {"names": ["flow novel"], "reads": ["domain.technical", "classify.high"]},
        {"names": ["domain novel"]},
    ],
    ids=["of another registry", "of an older version", "of other queues", "with a domain of that name"],
)
async def test_a_worker_that_cannot_serve_it_does_not_count(
    batch: Batch, transitions: Transitions, worker: dict[str, Any]
) -> None:
    query_id, query = await submitted(transitions)
    await live(batch, "other", **worker)
    await hand_on(batch, query_id, query)
    await unserved_for(batch, query_id, 61)

    assert await hand_on(batch, query_id, query) == scripts.HandOnUnserved()


@pytest.mark.parametrize("version", [1, 2])
async def test_while_a_worker_lives_that_could_serve_it_it_never_ends(
    batch: Batch, transitions: Transitions, version: int
) -> None:
    query_id, query = await submitted(transitions)
    await live(batch, "knows", ["flow novel"], version=version)
    for _ in range(3):
        assert await hand_on(batch, query_id, query) == scripts.HandOnWaits()
        await unserved_for(batch, query_id, 61)
    # It lives no longer: the time begins now.
    assert await hand_on(batch, query_id, query) == scripts.HandOnWaits()
    await batch.call("DEL", wire.alive_key("knows"))
    assert await hand_on(batch, query_id, query) == scripts.HandOnWaits()
    await unserved_for(batch, query_id, 61)

    assert await hand_on(batch, query_id, query) == scripts.HandOnUnserved()


async def test_where_those_who_know_it_do_not_read_its_queue_it_is_offered_to_them_in_another(
    batch: Batch, transitions: Transitions, redis_client: Redis
) -> None:
    query_id, query = await submitted(transitions)
    await route(transitions, query_id, query)
    await redis_client.delete("classify", "domain.technical")
    await live(batch, "knows", ["flow t"], reads=["classify", "domain.elsewhere"])
    upkeep = Upkeep(batch, SETTINGS, worker="w", traces=False)
    parcel = answer_parcel(query_id, query, FLOW, version=1)
    asked: dict[str, Any] = {"flow": "t", "stage": "answer", "reason": WaitReason.REGISTRY, "names": ["flow t"]}
    for _ in range(2):
        assert await upkeep.hand_on(query_id, "", parcel, version=1, **asked) == scripts.HandOnWaits()
        await unserved_for(batch, query_id, 61)
    (entry,) = await batch.call("ZRANGE", wire.delayed_key("domain.technical"), 0, 0)
    await batch.call("ZADD", wire.delayed_key("domain.technical"), 0, entry)
    await upkeep.sweep(CATALOG, ["domain.technical"])

    assert await redis_client.llen("classify") == 1


async def test_what_a_worker_knew_is_replaced_by_what_it_knows(batch: Batch, redis_client: Redis) -> None:
    upkeep = Upkeep(batch, SETTINGS, worker="w", traces=False)
    await upkeep.announce("1", lambda: ["flow a", "flow b"])
    await upkeep.announce("1", lambda: ["not asked for"])
    await upkeep.announce("2", lambda: ["flow b", "flow c"])

    assert await redis_client.smembers(wire.knows_key("w")) == {"flow b", "flow c"}
    assert 0 < await redis_client.ttl(wire.knows_key("w")) <= 60


async def test_a_message_that_was_served_meanwhile_is_not_handed_on(batch: Batch, transitions: Transitions) -> None:
    query_id, query = await submitted(transitions)
    await route(transitions, query_id, query)

    assert await hand_on(batch, query_id, query) == scripts.HandOnGone()
    assert await hand_on(batch, "nobody", query) == scripts.HandOnUnknown()
    await transitions.cancel([query_id], asker=Asker("local"), reason="test")
    assert await hand_on(batch, query_id, query, stage="answer") == scripts.HandOnGone()


async def test_a_call_that_runs_elsewhere_keeps_its_state(
    batch: Batch, transitions: Transitions, redis_client: Redis
) -> None:
    query_id, query = await submitted(transitions)
    await route(transitions, query_id, query)
    await redis_client.hset(wire.record_key(query_id), "state", "running")
    now, _ = await redis_client.time()
    await redis_client.zadd(wire.running_key("t"), {query_id: now * 1000 + 5000})

    assert await hand_on(batch, query_id, query, stage="answer", flow="t") == scripts.HandOnWaits()
    assert await redis_client.hget(wire.record_key(query_id), "state") == "running"


async def test_a_route_is_stored_only_with_messages_of_its_records_version(
    transitions: Transitions, redis_client: Redis
) -> None:
    query_id, query = await submitted(transitions)
    await redis_client.hset(wire.record_key(query_id), "v", 2)

    assert await route(transitions, query_id, query, version=1) == scripts.RouteVersioned(2)
    assert await redis_client.hget(wire.record_key(query_id), "route") is None
    assert isinstance(await route(transitions, query_id, query, version=2), scripts.RouteRouted)


async def look(batch: Batch) -> tuple[str, ...]:
    """Look at all open queries as if their time had come, and return those that are reported as lost."""
    for query_id in await batch.call("ZRANGE", wire.OPEN, 0, -1):
        await batch.call("ZADD", wire.OPEN, 0, query_id)
    found = await scripts.examine(
        batch, limit=100, confirm_ms=0, longest_ms=600_000, age_ms=10**9, patience_ms=60_000, settle_ms=0
    )
    assert isinstance(found, scripts.ExamineExamined)
    return found.ids


@pytest.mark.parametrize("at", ["q\nclassify\n1.abc", "z\nsomewhere\n7"], ids=["a queue", "a place of that version"])
async def test_a_lost_record_of_a_later_version_is_reported_only_once_nobody_of_that_version_lives(
    batch: Batch, transitions: Transitions, redis_client: Redis, at: str
) -> None:
    query_id, _ = await submitted(transitions)
    await redis_client.delete("classify")
    await redis_client.hset(wire.record_key(query_id), mapping={"v": 2, "at": at})
    # A young query may be in the hands of a worker in a way that no record tells.
    await redis_client.hincrby(wire.record_key(query_id), "created", -100_000)
    await live(batch, "later", version=2)
    for _ in range(4):
        assert await look(batch) == ()

    await redis_client.delete(wire.alive_key("later"))
    for _ in range(4):
        assert await look(batch) == ()
    await unserved_for(batch, query_id, 61)
    assert await look(batch) == (query_id,)


async def test_a_record_of_this_version_is_reported_at_once(
    batch: Batch, transitions: Transitions, redis_client: Redis
) -> None:
    query_id, _ = await submitted(transitions)
    await redis_client.delete("classify")

    assert [await look(batch), await look(batch)] == [(), (query_id,)]
