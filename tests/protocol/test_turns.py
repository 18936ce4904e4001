"""Owners take turns: in a queue, and where calls of a flow are waited for. Counted in turns, whatever the time."""

from __future__ import annotations

from itertools import pairwise, takewhile

import pytest
from redis import ConnectionPool
from redis.asyncio import Redis

from agentic_flywheel.asker import LOCAL, Asker
from agentic_flywheel.broker import forgetting, scripts, transport_scripts, wire
from agentic_flywheel.broker.audit import audit
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.control import queue_lengths
from agentic_flywheel.broker.executions import Execution, ExecutionEnd
from agentic_flywheel.broker.messages import answer_parcel, classify_parcel
from agentic_flywheel.broker.transitions import Transitions
from agentic_flywheel.broker.upkeep import Upkeep
from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.ids import new_query_id
from agentic_flywheel.models import Answer, Priority, Query, Route, State, Target
from agentic_flywheel.settings import Settings
from workers.engine.link import BrokerLink
from workers.engine.queues import list_first

FLOW = Flow(key="t", id="t-1", domain="technical", concurrency=2)
OTHER = Flow(key="u", id="u-1", domain="technical")
CATALOG = Catalog(flows={"t": FLOW, "u": OTHER})
SETTINGS = Settings(flowise_concurrency=4, owner_weights={"heavy": 3})


@pytest.fixture
def transitions(batch: Batch) -> Transitions:
    return Transitions(batch, SETTINGS)


@pytest.fixture
def link(broker_url: str) -> BrokerLink:
    return BrokerLink(ConnectionPool.from_url(broker_url), visibility_timeout=15)


async def submitted(transitions: Transitions, owner: str) -> str:
    query, query_id = Query(question="Why?", owner=owner), new_query_id()
    parcel = classify_parcel(query_id, query, query.written())
    await transitions.submit(query_id, query, query.written(), parcel, front="", domain=None)
    return query_id


async def parked(transitions: Transitions, owner: str, flow: Flow = FLOW) -> str:
    """Submit and route a query, and have it wait for its flow unless that may be called."""
    query_id, query = await submitted(transitions, owner), Query(question="Why?", owner=owner)
    target = Target(flow=flow.key, domain=flow.domain, confidence=0.9)
    route = Route(targets=(target,), decision="single", band="high", confidence=0.9).model_dump_json()
    answer = answer_parcel(query_id, query, flow, version=wire.VERSION)
    await transitions.route(
        query_id, version=wire.VERSION, route=route, flow=flow, intent="", event="{}", parcels={"": answer}
    )
    execution = Execution(query_id, "", flow, "", query_id)
    begun = await transitions.begin(execution, flow, policy="use", attempts_max=9)
    if isinstance(begun, scripts.BeginPark):
        await transitions.park(execution, flow, answer, reason=begun.reason, priority=Priority.NORMAL)
        return query_id
    assert isinstance(begun, scripts.BeginRun)
    return f"{query_id}#{begun.fence}"


def taken(link: BrokerLink, queue: str, turn: int = 0, *, limit: int = 1) -> list[str]:
    """Take messages as a worker with so much room does; return the ids of their queries."""
    call = transport_scripts.fetch(limit=limit, share=8, list_first=list_first(turn), bands=[1], queues=[queue])
    fetched = link.run(call)
    assert isinstance(fetched, transport_scripts.FetchTaken)
    return [raw.decode().partition('"correlation_id":"')[2][:32] for raw in fetched.messages]


def ahead(ids: list[str], mine: str) -> int:
    return len(list(takewhile(lambda each: each != mine, ids)))


@pytest.mark.parametrize("limit", [1, 7, 200])
async def test_one_of_a_thousand_is_taken_between_two_of_another_owner(
    transitions: Transitions, link: BrokerLink, limit: int
) -> None:
    for _ in range(300):
        await submitted(transitions, "greedy")
    mine = [await submitted(transitions, "modest") for _ in range(3)]

    order: list[str] = []
    for turn in range(400):
        order += taken(link, "classify", turn, limit=limit)

    assert len(set(order)) == len(order) == 303
    places = [order.index(each) for each in mine]
    # At first the list's own message, one with the same place, and one that passes the list; then a turn at a time.
    assert places[0] <= 3
    assert max(after - before for before, after in pairwise(places)) <= 3


async def test_nobody_waits_so_a_message_goes_straight_into_the_list(
    transitions: Transitions, link: BrokerLink, redis_client: Redis
) -> None:
    for _ in range(3):
        query_id = await submitted(transitions, "greedy")
        assert taken(link, "classify") == [query_id]

    assert not await redis_client.exists(wire.backlog_key("classify"), wire.rotation_key(wire.backlog_key("classify")))


async def test_an_owner_with_more_weight_has_more_turns(transitions: Transitions, link: BrokerLink) -> None:
    ids = {await submitted(transitions, owner): owner for _ in range(60) for owner in ("heavy", "greedy", LOCAL)}

    first = [ids[query_id] for turn in range(50) for query_id in taken(link, "classify", turn)]

    assert first.count("heavy") == pytest.approx(30, abs=2)
    assert first.count("greedy") == pytest.approx(10, abs=2)


async def test_what_plain_clients_push_and_what_we_put_there_take_turns(
    transitions: Transitions, link: BrokerLink, redis_client: Redis
) -> None:
    plain = []
    for _ in range(100):
        query, query_id = Query(question="Why?"), new_query_id()
        plain.append(query_id)
        await redis_client.lpush("classify", classify_parcel(query_id, query, query.written()).message)
    mine = await submitted(transitions, "modest")
    order = [each for turn in range(30) for each in taken(link, "classify", turn)]
    assert ahead(order, mine) <= 2

    # And the other way round.
    more = [await submitted(transitions, "greedy") for _ in range(100)]
    order = [each for turn in range(150) for each in taken(link, "classify", turn)]
    assert len(set(order) & set(plain)) > 60
    assert len(set(order) & set(more)) > 60


async def test_a_worker_that_has_no_room_leaves_word_of_the_rest_in_the_list(
    transitions: Transitions, link: BrokerLink, redis_client: Redis
) -> None:
    for _ in range(5):
        await submitted(transitions, "greedy")
    for left in (3, 2, 1, 0, 0):
        taken(link, "classify", 0)
        assert await redis_client.zcard(wire.backlog_key("classify")) == left
    assert not await redis_client.exists(wire.rotation_key(wire.backlog_key("classify")))


async def test_a_sweep_leaves_word_where_an_earlier_worker_has_taken_the_last_of_the_list(
    batch: Batch, transitions: Transitions, redis_client: Redis
) -> None:
    for _ in range(3):
        await submitted(transitions, "greedy")
    await redis_client.rpop("classify")

    await Upkeep(batch, SETTINGS, worker="w", traces=False).sweep(CATALOG, ["classify"])

    assert await redis_client.llen("classify") == 1


async def test_those_that_wait_for_a_flow_take_turns(transitions: Transitions, redis_client: Redis) -> None:
    calls = [await parked(transitions, "greedy") for _ in range(12)][:2]
    mine = await parked(transitions, "modest")
    await redis_client.delete("domain.technical", wire.backlog_key("domain.technical"))

    await ended(transitions, calls[0])
    await ended(transitions, calls[1])

    called_up = [str(each) for each in await redis_client.lrange("domain.technical", 0, -1)]
    assert len(called_up) == 2
    assert any(mine in each for each in called_up)


async def test_who_comes_first_does_not_pass_those_that_were_called_up(
    transitions: Transitions, redis_client: Redis
) -> None:
    calls = [await parked(transitions, "greedy") for _ in range(2)]
    mine = await parked(transitions, "modest")
    await ended(transitions, calls[0])
    passed = await parked(transitions, "greedy")
    assert "#" not in passed

    execution = Execution(mine, "", FLOW, "", mine)
    assert isinstance(await transitions.begin(execution, FLOW, policy="use", attempts_max=9), scripts.BeginRun)
    assert await redis_client.zcard(wire.running_key("t")) == 2


async def test_those_that_are_called_up_together_are_taken_in_their_order(
    batch: Batch, transitions: Transitions, link: BrokerLink, redis_client: Redis
) -> None:
    for _ in range(5):
        await parked(transitions, "greedy")
    await redis_client.delete("domain.technical", wire.backlog_key("domain.technical"), wire.running_key("t"))
    next_ones = [str(each)[:32] for each in await redis_client.zrange(wire.parked_key("t"), 0, 1)]

    await Upkeep(batch, SETTINGS, worker="w", traces=False).sweep(CATALOG, ["domain.technical"])

    assert taken(link, "domain.technical", limit=9) == next_ones


async def test_who_comes_first_does_not_pass_those_that_wait_for_a_flows_rate(
    transitions: Transitions, redis_client: Redis
) -> None:
    sparing = FLOW.model_copy(update={"rate": 1.0})
    while "#" in await parked(transitions, "greedy", sparing):
        pass
    await redis_client.delete(wire.rate_key("t"), wire.running_key("t"))

    assert "#" not in await parked(transitions, "greedy", sparing)


async def test_a_forgotten_owner_leaves_nothing_behind_a_list(
    batch: Batch, transitions: Transitions, redis_client: Redis
) -> None:
    for _ in range(3):
        await submitted(transitions, "greedy")
    kept = [await submitted(transitions, "modest") for _ in range(2)]
    person = forgetting.Person(Asker("greedy"))
    found = await forgetting.find(batch, person)

    await forgetting.cancel(batch, found.open)
    await forgetting.delete(batch, person, found)

    backlog = wire.backlog_key("classify")
    assert [kept_id in str(each) for kept_id, each in zip(kept, await redis_client.zrange(backlog, 0, -1), strict=True)]
    assert await redis_client.zrange(wire.rotation_key(backlog), 0, -1) == ["0 modest"]


async def test_who_was_called_up_and_has_ended_gives_the_place_back(
    transitions: Transitions, redis_client: Redis
) -> None:
    calls = [await parked(transitions, "greedy") for _ in range(2)]
    mine = await parked(transitions, "modest")
    await ended(transitions, calls[0])
    await redis_client.hset(wire.record_key(mine), "state", State.CANCELLED)
    execution = Execution(mine, "", FLOW, "", mine)

    assert isinstance(await transitions.begin(execution, FLOW, policy="use", attempts_max=9), scripts.BeginGone)
    assert await redis_client.zcard(wire.running_key("t")) == 1


async def test_a_flow_does_not_wait_for_all_that_wait_for_another_of_its_server(
    transitions: Transitions, redis_client: Redis
) -> None:
    calls = [await parked(transitions, "greedy", OTHER) for _ in range(20)][:4]
    await parked(transitions, "modest")
    for each in calls:
        await ended(transitions, each)

    assert await redis_client.zcard(wire.parked_key("t")) == 0
    assert await redis_client.zcard(wire.parked_key("u")) == 13


async def test_lengths_and_the_audit_know_what_waits_behind_a_list(
    batch: Batch, transitions: Transitions, redis_client: Redis, broker_url: str
) -> None:
    ids = [await submitted(transitions, "greedy") for _ in range(5)]
    assert (await queue_lengths(batch, CATALOG))[0].ready == 5

    here = Settings(redis_url=broker_url)
    assert (await audit(here, read=["classify"])).offenders == ()
    nobody = (await audit(here)).offenders
    assert {each.why for each in nobody} == {"its message lies in queue classify, which no living worker reads"}
    (first, *_) = await redis_client.zrange(wire.backlog_key("classify"), 0, 0)
    await redis_client.zrem(wire.backlog_key("classify"), str(first))
    (lost,) = (await audit(here, read=["classify"])).offenders
    assert lost.id in ids


async def ended(transitions: Transitions, call: str) -> None:
    query_id, fence = call.split("#")
    execution = Execution(query_id, "", FLOW, "", query_id).fenced(fence)
    if not await transitions.batch.call("ZSCORE", wire.running_key("t"), query_id):
        execution = Execution(query_id, "", OTHER, "", query_id).fenced(fence)
    answer = Answer(query_id=query_id, text="a", flow=execution.flow_key, domain=execution.domain)
    end = ExecutionEnd(State.SUCCEEDED, answer.model_dump_json(), heard="up")
    await transitions.finish(execution, end, queue="domain.technical")


@pytest.mark.parametrize("spoilt", [wire.backlog_key("classify"), wire.rotation_key(wire.backlog_key("classify"))])
async def test_where_another_program_has_written_a_key_of_the_turns_queries_wait_without_them(
    transitions: Transitions, link: BrokerLink, redis_client: Redis, spoilt: str
) -> None:
    await redis_client.set(spoilt, "x")
    ids = [await submitted(transitions, owner) for owner in ("greedy", "greedy", "modest")]

    assert taken(link, "classify", limit=9) == ids
