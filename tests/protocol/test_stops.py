"""What happens, and does not, to an execution that waits for a person: scripts against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from agentic_flywheel.asker import Asker
from agentic_flywheel.broker import scripts, wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.executions import Execution
from agentic_flywheel.broker.messages import answer_parcel, classify_parcel
from agentic_flywheel.broker.parcels import Parcel
from agentic_flywheel.broker.stops import Stops, asking
from agentic_flywheel.broker.transitions import Transitions
from agentic_flywheel.broker.upkeep import Upkeep
from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.ids import new_query_id
from agentic_flywheel.models import Priority, Query, Route, State, Target, WaitReason
from agentic_flywheel.settings import Settings
from agentic_flywheel.stops import AskedPerson

FLOW = Flow(key="f", id="f-1", domain="d", fallback="g")
OTHER = Flow(key="g", id="g-1", domain="d")
ASKED = AskedPerson(flow="f", domain="d", text="May I?", choices={"proceed": "Yes", "reject": "No"})
SETTINGS = Settings(flowise_base_url="http://here.example")
OLD = 30 * 86_400_000


@pytest.fixture
def transitions(batch: Batch) -> Transitions:
    return Transitions(batch, SETTINGS)


@pytest.fixture
def stops(batch: Batch) -> Stops:
    return Stops(batch, SETTINGS)


async def running(
    transitions: Transitions, *, session: str | None = None, owner: str = "ann"
) -> tuple[Execution, Parcel]:
    """Begin a call of a flow; return its execution, and the message with which it would go on."""
    query, query_id = Query(question="Delete it?", session_id=session, owner=owner), new_query_id()
    parcel = classify_parcel(query_id, query, query.written())
    await transitions.submit(query_id, query, query.written(), parcel, front=f"front-{query_id}", domain=None)
    target = Target(flow="f", domain="d", confidence=0.9)
    route = Route(targets=(target,), decision="single", band="high", confidence=0.9).model_dump_json()
    answer = answer_parcel(query_id, query, FLOW, version=wire.VERSION)
    await transitions.route(
        query_id, version=wire.VERSION, route=route, flow=FLOW, intent="", event="{}", parcels={"": answer}
    )
    execution = Execution(query_id, "", FLOW, "", query_id)
    begun = await transitions.begin(execution, FLOW, policy="use", attempts_max=9)
    assert isinstance(begun, scripts.BeginRun)
    return execution.fenced(begun.fence), answer


async def stopped(transitions: Transitions, stops: Stops, **about: str) -> tuple[Execution, Parcel]:
    execution, parcel = await running(transitions, **about)
    reply = await stops.stop(execution, FLOW, parcel, ASKED, queue="domain.d")
    assert isinstance(reply, scripts.StopStopped)
    return execution, parcel


async def state_of(batch: Batch, execution: Execution) -> str:
    return str(await batch.call("HGET", wire.record_key(execution.query_id), "state"))


def late(
    transitions: Transitions, upkeep: Upkeep, batch: Batch, execution: Execution, parcel: Parcel, mover: str
) -> list[Callable[[], Awaitable[object]]]:
    """What a worker with a second delivery of the message may still do."""
    query_id = execution.query_id
    return [
        lambda: transitions.begin(execution, FLOW, policy="use", attempts_max=9),
        lambda: transitions.come_back(execution, parcel, queue="domain.d", delay_ms=0),
        lambda: transitions.park(execution, FLOW, parcel, reason=WaitReason.RATE, priority=Priority.NORMAL),
        lambda: transitions.attach(execution, parcel),
        lambda: transitions.reroute(
            execution._replace(fence=wire.NO_FENCE), FLOW, OTHER, parcel, event="{}", error_type="x", transient=False
        ),
        lambda: scripts.rebuild(batch, id=query_id, part="", mover=mover, place=parcel.place, most=9),
        lambda: scripts.stumble(batch, id=query_id, part="", queue="domain.d", place=parcel.place, most=3),
        lambda: upkeep.hand_on(
            query_id, "", parcel, flow="f", stage="answer", reason=WaitReason.REGISTRY, names=["flow f"], version=1
        ),
    ]


async def test_a_second_delivery_of_its_message_moves_nothing(
    batch: Batch, transitions: Transitions, stops: Stops
) -> None:
    execution, parcel = await stopped(transitions, stops)
    key = wire.record_key(execution.query_id)
    before = await batch.call("HGETALL", key)
    await batch.call("SET", wire.lease_key(execution.lease), "another#1", "PX", 9999)

    upkeep = Upkeep(batch, SETTINGS, worker="w", traces=False)
    for act in late(transitions, upkeep, batch, execution, parcel, before["at"]):
        reply = await act()
        assert type(reply).__name__.endswith(("Gone", "Moved")), reply
        assert await batch.call("HGETALL", key) == before


async def test_an_earlier_copy_that_was_delayed_comes_back_and_moves_nothing(
    batch: Batch, transitions: Transitions, stops: Stops
) -> None:
    execution, parcel = await stopped(transitions, stops)
    key = wire.record_key(execution.query_id)
    before = await batch.call("HGETALL", key)
    # Its giver had lost the reply, and gave it again: that one was taken, and its flow has stopped.
    await batch.call("ZADD", wire.delayed_key("domain.d"), 1, f"{execution.name}\n{parcel.place}")
    await batch.call("SADD", wire.DELAYED_QUEUES, "domain.d")

    await Upkeep(batch, SETTINGS, worker="w", traces=False).sweep(Catalog(flows={"f": FLOW}), ["domain.d"])

    assert await batch.call("ZCARD", wire.delayed_key("domain.d")) == 0
    assert await batch.call("HGETALL", key) == before


async def test_it_is_put_aside_once_and_its_lease_is_given_up(
    batch: Batch, transitions: Transitions, stops: Stops
) -> None:
    execution, parcel = await stopped(transitions, stops)
    again = await stops.stop(execution, FLOW, parcel, ASKED, queue="domain.d")

    assert isinstance(again, scripts.StopStopped)
    assert await batch.call("HGET", wire.record_key(execution.query_id), "stops") == "1"
    assert await batch.call("EXISTS", wire.lease_key(execution.lease)) == 0


async def test_a_worker_whose_lease_another_one_took_puts_nothing_aside(
    batch: Batch, transitions: Transitions, stops: Stops
) -> None:
    execution, parcel = await running(transitions)

    reply = await stops.stop(execution.fenced("1"), FLOW, parcel, ASKED, queue="domain.d")

    assert isinstance(reply, scripts.StopLate)
    assert await state_of(batch, execution) == State.RUNNING


async def test_a_query_that_was_cancelled_before_its_flow_stopped_is_not_put_aside(
    batch: Batch, transitions: Transitions, stops: Stops
) -> None:
    execution, parcel = await running(transitions)
    await transitions.cancel([execution.query_id], asker=Asker("ann"), reason="test")

    reply = await stops.stop(execution, FLOW, parcel, ASKED, queue="domain.d")

    assert isinstance(reply, scripts.StopGone)
    assert await asking(batch, Asker("ann")) == []


async def test_the_age_limit_counts_from_the_last_decision(
    batch: Batch, transitions: Transitions, stops: Stops
) -> None:
    waits, _ = await stopped(transitions, stops, session="s")
    held = new_query_id()
    key, query = wire.record_key(waits.query_id), Query(question="x", session_id="s", owner="ann")
    # It was accepted before the other one stopped.
    await batch.call("RPUSH", wire.line_key(query.asker.session_name("s")), held)
    await batch.call("HSET", wire.record_key(held), "state", "waiting", "session", query.asker.session_name("s"))
    await batch.call("HSET", wire.record_key(held), "reason", "session", "owner", "ann", "ttl", 60)

    async def examined() -> tuple[str, ...]:
        for each in (waits.query_id, held):
            await batch.call("ZADD", wire.OPEN, 0, each)
        found = await scripts.examine(
            batch, limit=9, confirm_ms=0, longest_ms=10**6, age_ms=86_400_000, patience_ms=60_000, settle_ms=0
        )
        assert isinstance(found, scripts.ExamineExamined)
        return found.expired

    for each in (waits.query_id, held):
        await batch.call("HSET", wire.record_key(each), "created", 1_000_000)
    assert await examined() == ()
    await stops.resume(waits.query_id, 1, "proceed", "", asker=Asker("ann"))
    assert await examined() == (held,)
    await batch.call("HSET", key, "resumed", 1_000_000)
    assert await examined() == (waits.query_id,)


async def test_what_waits_for_a_person_takes_no_place_from_others(
    batch: Batch, transitions: Transitions, stops: Stops
) -> None:
    narrow = Transitions(batch, SETTINGS.model_copy(update={"queue_limit": 1}))
    waits, _ = await stopped(narrow, stops)

    other, _ = await running(narrow)
    query = Query(question="third")
    full = await narrow.submit(
        new_query_id(), query, query.written(), classify_parcel("x", query, "{}"), front="", domain=None
    )
    await stops.resume(waits.query_id, 1, "proceed", "", asker=Asker("ann"))

    assert isinstance(full, scripts.SubmitFull)
    assert await state_of(batch, other) == State.RUNNING
    assert set(await batch.call("SMEMBERS", wire.open_in_key("d"))) == {waits.query_id, other.query_id}
    assert set(await batch.call("HKEYS", wire.underway_key("ann"))) == {waits.query_id, other.query_id}


async def test_a_deadline_ends_it_before_the_persons_time_is_over(
    batch: Batch, transitions: Transitions, stops: Stops
) -> None:
    execution, parcel = await running(transitions)
    soon = int(await batch.call("HGET", wire.record_key(execution.query_id), "created")) + 1
    await batch.call("HSET", wire.record_key(execution.query_id), "deadline", soon)
    await stops.stop(execution, FLOW, parcel, ASKED, queue="domain.d")
    await asyncio.sleep(0.002)  # until the deadline, which is in milliseconds

    swept = await Upkeep(batch, SETTINGS, worker="w", traces=False).sweep(Catalog(flows={"f": FLOW, "g": OTHER}), [])

    assert execution.query_id in swept.ended
    assert await state_of(batch, execution) == State.EXPIRED


async def test_where_the_list_of_those_that_wait_is_lost_it_is_made_anew(
    batch: Batch, transitions: Transitions, stops: Stops
) -> None:
    waits, _ = await stopped(transitions, stops)
    until = await batch.call("ZSCORE", wire.ASKED, waits.query_id)
    await batch.call("DEL", wire.ASKED)
    await batch.call("ZADD", wire.OPEN, 0, waits.query_id)

    await scripts.examine(
        batch, limit=9, confirm_ms=0, longest_ms=10**6, age_ms=86_400_000, patience_ms=60_000, settle_ms=0
    )

    assert await batch.call("ZSCORE", wire.ASKED, waits.query_id) == until
