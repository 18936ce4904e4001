"""How many calls a server is given: all its flows together, and after an outage."""

from __future__ import annotations

from datetime import timedelta

import pytest
from redis.asyncio import Redis

from agentic_flywheel.broker import scripts, wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.control import pause, resume
from agentic_flywheel.broker.executions import Execution, ExecutionEnd
from agentic_flywheel.broker.messages import answer_parcel, classify_parcel
from agentic_flywheel.broker.transitions import Transitions
from agentic_flywheel.broker.upkeep import Upkeep
from agentic_flywheel.broker.wire import Heard
from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.errors import FlowFailed
from agentic_flywheel.ids import new_query_id
from agentic_flywheel.models import Answer, Priority, Query, Route, State, Target
from agentic_flywheel.servers import FlowServer
from agentic_flywheel.settings import Settings
from workers.outcomes import to_remember

FLOWS = {key: Flow(key=key, id=f"{key}-1", domain=key) for key in ("one", "other")}
ELSEWHERE = Flow(key="far", id="far-1", domain="far", server="http://far.example/api/v1/")
CATALOG = Catalog(flows={**FLOWS, "far": ELSEWHERE})
SERVER = "http://here.example:3000"


def settings(at_once: int) -> Settings:
    return Settings(flowise_base_url=f"{SERVER}/", flowise_concurrency=at_once)


@pytest.fixture
def transitions(batch: Batch) -> Transitions:
    return Transitions(batch, settings(4))


async def begun(transitions: Transitions, flow: Flow) -> tuple[Execution, scripts.BeginReply]:
    """Submit and route a query, and ask whether its flow may be called."""
    query, query_id = Query(question="Why?"), new_query_id()
    parcel = classify_parcel(query_id, query, query.written())
    await transitions.submit(query_id, query, query.written(), parcel, front="", domain=None)
    target = Target(flow=flow.key, domain=flow.domain, confidence=0.9)
    route = Route(targets=(target,), decision="single", band="high", confidence=0.9).model_dump_json()
    answer = answer_parcel(query_id, query, flow, version=wire.VERSION)
    await transitions.route(
        query_id, version=wire.VERSION, route=route, flow=flow, intent="", event="{}", parcels={"": answer}
    )
    execution = Execution(query_id, "", flow, "", query_id)
    reply = await transitions.begin(execution, flow, policy="use", attempts_max=9)
    if isinstance(reply, scripts.BeginRun):
        return execution.fenced(reply.fence), reply
    assert isinstance(reply, scripts.BeginPark)
    await transitions.park(execution, flow, answer, reason=reply.reason, priority=Priority.NORMAL)
    return execution, reply


async def running(transitions: Transitions, *flows: Flow) -> list[Execution]:
    """Begin calls of these flows, one each; return those that may start."""
    found = [await begun(transitions, flow) for flow in flows]
    return [execution for execution, reply in found if isinstance(reply, scripts.BeginRun)]


async def places(client: Redis) -> int:
    """Return how many calls of the server there are, or may begin by those that were called up."""
    return int(await client.zcard(wire.serving_key(SERVER)))


async def ended(transitions: Transitions, execution: Execution, *, pause: timedelta = timedelta()) -> None:
    assert execution.flow is not None
    answer = Answer(query_id=execution.query_id, text="a", flow=execution.flow_key, domain=execution.domain)
    end = ExecutionEnd(State.SUCCEEDED, answer.model_dump_json(), heard="up", pause=pause)
    await transitions.finish(execution, end, queue=wire.domain_queue(execution.domain))


async def put_off(transitions: Transitions, execution: Execution, heard: Heard, *, asked_ms: int = 0) -> None:
    assert execution.flow is not None
    parcel = answer_parcel(execution.query_id, Query(question="Why?"), execution.flow, version=wire.VERSION)
    await transitions.defer(
        execution,
        execution.flow,
        parcel,
        queue=wire.domain_queue(execution.domain),
        delay_ms=10**6,
        event="{}",
        throttled_ms=asked_ms,
        counted=True,
        heard=heard,
    )


async def test_a_flow_that_refuses_again_is_left_alone_for_longer_until_a_call_succeeds(
    batch: Batch, transitions: Transitions
) -> None:
    flow, circuit = FLOWS["one"], wire.circuit_key("one")

    async def refused(asked_ms: int) -> int:
        """Have three calls at once refused; return the pause after them, in seconds."""
        calls = await running(transitions, flow, flow, flow)
        assert len(calls) == 3
        for each in calls:
            await put_off(transitions, each, "up", asked_ms=asked_ms)
        until = float(str(await batch.call("HGET", circuit, "throttled_until")))
        assert isinstance((await begun(transitions, flow))[1], scripts.BeginPark)
        await batch.call("DEL", wire.parked_key("one"))
        seconds, microseconds = (int(each) for each in await batch.call("TIME"))
        # As if it were over.
        await batch.call("HSET", circuit, "throttled_until", 0)
        return round((until - 1000 * seconds - microseconds / 1000) / 1000)

    assert [await refused(1000) for _ in range(4)] == [1, 2, 4, 8]
    assert await refused(30_000) == 30
    assert [await refused(1000) for _ in range(3)] == [32, 60, 60]
    (execution,) = await running(transitions, flow)
    await ended(transitions, execution)
    assert await refused(1000) == 1


async def test_all_flows_of_a_server_share_its_calls(transitions: Transitions) -> None:
    one, other = FLOWS.values()

    assert len(await running(transitions, one, one, other, other, one, other)) == 4
    assert len(await running(transitions, *[ELSEWHERE] * 6)) == 4


async def test_a_named_server_has_as_many_calls_as_the_registry_says_for_all_its_flows(
    batch: Batch, transitions: Transitions
) -> None:
    server = FlowServer(address="http://models", backend="openai", concurrency=2)
    told = {"server": server.address, "served_by": server, "backend": "openai", "model": "m"}
    one, other = (flow.model_copy(update=told) for flow in FLOWS.values())

    under_way = await running(transitions, one, other, one, other)
    assert len(under_way) == 2
    assert len(await running(transitions, *[ELSEWHERE] * 6)) == 4

    catalog = Catalog(flows={flow.key: flow for flow in (one, other)})
    await ended(transitions, under_way[0])
    await Upkeep(batch, settings(4), worker="w", traces=False).sweep(catalog, ())
    assert await batch.call("ZCARD", wire.serving_key(server.address)) == 2


async def test_failures_to_reach_a_named_server_count_for_all_its_flows(transitions: Transitions) -> None:
    server = FlowServer(address="http://models", backend="openai")
    told = {"server": server.address, "served_by": server, "backend": "openai", "model": "m"}
    one, other = (flow.model_copy(update=told) for flow in FLOWS.values())

    for flow in (one, other, one):
        (execution,) = await running(transitions, flow)
        await put_off(transitions, execution, "down")

    assert len(await running(transitions, one, other, other)) == 1
    assert len(await running(transitions, ELSEWHERE, ELSEWHERE)) == 2


async def test_an_answer_that_asks_for_a_pause_is_followed_by_no_call_of_its_flow(transitions: Transitions) -> None:
    one, other = FLOWS.values()
    first, second = await running(transitions, one, one)
    await ended(transitions, first, pause=timedelta(seconds=30))

    _, reply = await begun(transitions, one)
    assert isinstance(reply, scripts.BeginPark)
    assert reply.reason == "rate"
    assert len(await running(transitions, other)) == 1

    # The limit has calls left again.
    await ended(transitions, second)
    assert len(await running(transitions, one)) == 1


async def test_a_flow_may_have_fewer_calls_than_its_server(transitions: Transitions) -> None:
    narrow = FLOWS["one"].model_copy(update={"concurrency": 2})

    assert len(await running(transitions, narrow, narrow, narrow, FLOWS["other"], FLOWS["other"])) == 4


async def test_a_call_that_ends_makes_room_for_whoever_waits_longest(
    transitions: Transitions, redis_client: Redis
) -> None:
    one, other = FLOWS.values()
    calls = await running(transitions, one, one, one, one)
    waiting = [await begun(transitions, flow) for flow in (other, one, one)]
    assert all(isinstance(reply, scripts.BeginPark) for _, reply in waiting)
    await redis_client.delete("domain.one", "domain.other")

    await ended(transitions, calls[0])

    assert (await redis_client.llen("domain.other"), await redis_client.llen("domain.one")) == (1, 0)


async def test_a_sweep_makes_use_of_room_that_nobody_announced(batch: Batch, redis_client: Redis) -> None:
    transitions = Transitions(batch, settings(1))
    one, other = FLOWS.values()
    await running(transitions, one, other)
    await redis_client.delete("domain.one", "domain.other", wire.serving_key(SERVER), wire.running_key("one"))

    await Upkeep(batch, settings(1), worker="w", traces=False).sweep(CATALOG, ["domain.other"])

    assert await redis_client.llen("domain.other") == 1


async def test_after_an_outage_calls_come_back_one_by_one_then_ever_more(
    transitions: Transitions, redis_client: Redis
) -> None:
    one, other = FLOWS.values()
    for call in await running(transitions, one, one, other):
        await put_off(transitions, call, "down")

    probing = await running(transitions, one, other, other)
    assert len(probing) == 1
    await ended(transitions, probing[0])
    assert await places(redis_client) == 1, "that of one which waited"
    await running(transitions, one, other)
    assert await places(redis_client) == 1
    back = int(str(await redis_client.get(wire.outage_key(SERVER))))
    await redis_client.set(wire.outage_key(SERVER), back - 1000)
    await running(transitions, other, one, other)
    assert await places(redis_client) == 2
    await redis_client.set(wire.outage_key(SERVER), back - 2000)
    await running(transitions, other, one, other)
    assert await places(redis_client) == 4
    assert len(await running(transitions, ELSEWHERE, ELSEWHERE)) == 2


async def test_a_connection_that_breaks_now_and_then_is_no_outage(transitions: Transitions) -> None:
    one = FLOWS["one"]
    for _ in range(5):
        broken, fine = await running(transitions, one, one)
        await put_off(transitions, broken, "down")
        await ended(transitions, fine)

    assert len(await running(transitions, *[one] * 6)) == 4


async def test_a_fence_is_given_once_even_by_a_server_that_has_forgotten_the_last_ones(
    transitions: Transitions, redis_client: Redis
) -> None:
    (first,) = await running(transitions, FLOWS["one"])
    await redis_client.delete(wire.FENCE)
    (second,) = await running(transitions, FLOWS["one"])
    await redis_client.set(wire.FENCE, 5 * 10**15)
    (third,) = await running(transitions, FLOWS["one"])

    assert int(first.fence) < int(second.fence) < 5 * 10**15 < int(third.fence)


async def test_an_answer_whose_route_the_server_has_forgotten_moves_nothing(
    transitions: Transitions, redis_client: Redis
) -> None:
    """Its file lost its end while a worker had the answer's message; the classification's is there again."""
    (execution,) = await running(transitions, FLOWS["one"])
    key, flow = wire.record_key(execution.query_id), FLOWS["one"]
    answer = answer_parcel(execution.query_id, Query(question="Why?"), flow, version=wire.VERSION)
    await redis_client.delete(wire.lease_key(execution.lease))
    await redis_client.hdel(key, "routed", "route", "stage", "fence", "flow", "at")
    await redis_client.hset(key, "state", "pending")
    before = await redis_client.hgetall(key)

    assert isinstance(await transitions.begin(execution, flow, policy="use", attempts_max=9), scripts.BeginGone)
    parked = await transitions.park(execution, flow, answer, reason="paused", priority=Priority.NORMAL)
    assert isinstance(parked, scripts.ParkGone)
    assert isinstance(await transitions.attach(execution, answer), scripts.AttachGone)
    assert isinstance(
        await transitions.come_back(execution, answer, queue="domain.x", delay_ms=1), scripts.ComeBackGone
    )
    assert await redis_client.hgetall(key) == before


async def test_those_attached_to_a_question_whose_flow_answers_each_by_itself_are_not_given_its_answer(
    transitions: Transitions, redis_client: Redis
) -> None:
    flow, query, ids = Flow(key="booking", id="b", domain="booking", cache="off"), Query(question="A room?"), []
    for _ in range(120):
        ids.append(query_id := new_query_id())
        parcel = classify_parcel(query_id, query, query.written())
        await transitions.submit(query_id, query, query.written(), parcel, front="same", domain=None)
    leader, *others = ids
    assert await attached(redis_client, others) == 119

    target = Target(flow=flow.key, domain=flow.domain, confidence=0.9)
    route = Route(targets=(target,), decision="single", band="high", confidence=0.9).model_dump_json()
    answer = answer_parcel(leader, query, flow, version=wire.VERSION)
    await transitions.route(
        leader, version=wire.VERSION, route=route, flow=flow, intent="", event="{}", parcels={"": answer}, alone=True
    )
    execution = Execution(leader, "", flow, "", leader)
    reply = await transitions.begin(execution, flow, policy="use", attempts_max=9)
    assert isinstance(reply, scripts.BeginRun)
    booked = Answer(query_id=leader, text="Booked.", flow=flow.key, domain=flow.domain).model_dump_json()
    end = ExecutionEnd(state=State.SUCCEEDED, answer=booked)
    await transitions.finish(execution.fenced(reply.fence), end, queue="classify")

    # One script sends some on their way; the rest waits for one of them.
    assert await attached(redis_client, others) == 119 - 50 - 1
    assert not any([await redis_client.hexists(wire.record_key(each), "finished") for each in others])


async def test_those_attached_to_a_question_that_falls_back_share_the_failure_where_they_may_not_share_the_answer(
    transitions: Transitions, redis_client: Redis
) -> None:
    flow, fallback = (Flow(key=key, id=key, domain=key, fallback="booking") for key in ("shaky", "booking"))
    query, ids, failed = Query(question="A room?"), [], to_remember(FlowFailed("shaky", "it is down"))
    for _ in range(120):
        ids.append(query_id := new_query_id())
        parcel = classify_parcel(query_id, query, query.written())
        await transitions.submit(query_id, query, query.written(), parcel, front="joined", domain=None)
    leader, *others = ids
    route = Route(
        targets=(Target(flow="shaky", domain="shaky", confidence=0.9),), decision="single", band="high", confidence=0.9
    )
    written = route.model_dump_json()

    async def begin(query_id: str, flow: Flow, asked: str = "") -> scripts.BeginReply:
        answer = answer_parcel(query_id, query, flow, version=wire.VERSION)
        await transitions.route(
            query_id, version=wire.VERSION, route=written, flow=flow, intent="", event="{}", parcels={"": answer}
        )
        execution = Execution(query_id, "", flow, "", query_id, asked=asked)
        return await transitions.begin(execution, flow, policy="use", attempts_max=9)

    async def fall_back(query_id: str, fence: str) -> None:
        parcel = answer_parcel(query_id, query, fallback, version=wire.VERSION)
        execution = Execution(query_id, "", flow, "", query_id, fence=fence)
        rerouted = await transitions.reroute(
            execution, flow, fallback, parcel, event="{}", error_type="FlowFailed", transient=True, gave_up=failed
        )
        assert isinstance(rerouted, scripts.RerouteRerouted)

    reply = await begin(leader, flow)
    assert isinstance(reply, scripts.BeginRun)
    await fall_back(leader, reply.fence)

    # One script sends some on their way; the rest waits for one of them, which needs no call to know the failure.
    assert await attached(redis_client, others) == 119 - 50 - 1
    heir = str(await redis_client.get(wire.heir_key(leader)))
    reply = await begin(heir, flow)
    assert isinstance(reply, scripts.BeginGaveUp)
    assert f"{reply.error}\n{reply.failure}" == failed
    await fall_back(heir, wire.NO_FENCE)
    assert await attached(redis_client, others) == 119 - 2 * (50 + 1)
    assert not any([await redis_client.hexists(wire.record_key(each), "finished") for each in others])
    assert isinstance(fallback_of := await begin(heir, fallback), scripts.BeginFallback)
    assert fallback_of.asked == "shaky"
    assert isinstance(await begin(heir, fallback, asked="shaky"), scripts.BeginRun)


async def attached(client: Redis, ids: list[str]) -> int:
    return sum([await client.hexists(wire.record_key(each), "attached_to") for each in ids])


async def test_a_query_whose_deadline_passes_while_it_waits_is_not_asked(
    transitions: Transitions, redis_client: Redis
) -> None:
    """No sweep has come since."""
    flow = FLOWS["one"]
    await pause(transitions.batch, flow=flow.key)
    execution, parked = await begun(transitions, flow)
    await resume(transitions.batch, flow=flow.key)
    await redis_client.hset(wire.record_key(execution.query_id), "deadline", "1000000000000")
    reply = await transitions.begin(execution, flow, policy="use", attempts_max=9)

    assert isinstance(parked, scripts.BeginPark)
    assert isinstance(reply, scripts.BeginGone)
    assert await redis_client.hget(wire.record_key(execution.query_id), "state") == "expired"
    assert await places(redis_client) == 0
    assert await redis_client.lrange(wire.UNTRACED, 0, -1) == [execution.query_id]
