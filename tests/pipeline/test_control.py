"""What keeps a flow from being called, and what ends a query early: limits, retries, deadlines, cancelling, pausing."""

from __future__ import annotations

import asyncio
import time
import uuid
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.control import pause, read_paused, resume
from agentic_flywheel.broker.records import dead_letters, remove_dead_letters
from agentic_flywheel.errors import DeadlineExceeded, FlowFailed, FlowTimeout, QueryCancelled, QueueFull
from agentic_flywheel.models import State
from pipeline.house import BACKUP, FRAGILE, NARROW, SPARING, STUBBORN, TECHNICAL, UNHURRIED, House
from producer import AsyncProducer


def fresh(question: str) -> str:
    return f"{question} ({uuid.uuid4().hex[:8]})"


async def until(condition: object, seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # type: ignore[operator]
            await asyncio.sleep(0.02)


async def test_a_flow_is_never_called_more_often_at_once_than_it_allows(producer: AsyncProducer, house: House) -> None:
    house.behave(NARROW, latency=0.2)
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, house.client.zcard("flywheel:running:narrow"))
            await asyncio.sleep(0.01)

    watching = asyncio.create_task(watch())
    answers = await asyncio.gather(*(producer.ask(fresh("n"), flow="narrow", wait=30) for _ in range(10)))
    watching.cancel()

    assert len(answers) == 10
    assert 1 <= most <= 2


async def test_a_server_never_has_more_calls_at_once_than_it_may(producer: AsyncProducer, house: House) -> None:
    house.behave(latency=0.2)
    asked = [producer.ask(fresh("q"), flow=flow, wait=40) for flow in ("backup", "prose", "brief") for _ in range(20)]
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            (serving,) = house.client.keys("flywheel:serving:*") or ["none"]
            most = max(most, house.client.zcard(serving))
            await asyncio.sleep(0.01)

    watching = asyncio.create_task(watch())
    answers = await asyncio.gather(*asked)
    watching.cancel()

    assert {answer.flow for answer in answers} == {"backup", "prose", "brief"}
    assert most == 16


async def test_a_slow_flow_does_not_delay_another_one(producer: AsyncProducer, house: House) -> None:
    house.behave(NARROW, latency=1.0)
    slow = [await producer.submit(fresh("slow"), flow="narrow") for _ in range(12)]

    start = time.monotonic()
    await producer.ask(fresh("How do I use a python database?"), wait=20)

    assert time.monotonic() - start < 5
    states = {(await producer.status(each.query_id)).reason for each in slow}
    assert "concurrency" in states
    for each in slow:
        await producer.cancel(each.query_id)


async def test_the_rate_of_a_flow_is_kept_over_all_its_queries(producer: AsyncProducer, house: House) -> None:
    start = time.monotonic()
    await asyncio.gather(*(producer.ask(fresh("r"), flow="sparing", wait=60) for _ in range(16)))

    # Five at once are one second's worth; the other eleven come five a second.
    assert time.monotonic() - start >= 1.5
    assert SPARING


async def test_a_rate_limit_of_flowise_is_waited_out(producer: AsyncProducer, house: House) -> None:
    house.behave(BACKUP, rate_limit={"calls": 2, "seconds": 1.0})

    answers = await asyncio.gather(*(producer.ask(fresh("q"), flow="backup", wait=60) for _ in range(5)))

    assert len({answer.query_id for answer in answers}) == 5


async def test_a_transient_failure_is_tried_again(producer: AsyncProducer, house: House) -> None:
    house.behave(BACKUP, fault="drop", fault_first=1)
    submission = await producer.submit(fresh("q"), flow="backup")

    events = [event async for event in producer.stream(submission.query_id)]

    assert "retrying" in [event.kind for event in events]
    record = await producer.status(submission.query_id)
    assert record.state == State.SUCCEEDED
    assert record.attempts == 2


async def test_a_permanent_failure_is_not_tried_again_and_leaves_a_dead_letter(
    producer: AsyncProducer, house: House
) -> None:
    house.behave(BACKUP, fault="error_500")
    question = fresh("q")

    with pytest.raises(FlowFailed):
        await producer.ask(question, flow="backup", wait=20)
    with pytest.raises(FlowFailed):  # remembered for a while
        await producer.ask(question, flow="backup", wait=20)

    assert house.calls(question) == 1
    letters = [letter for letter in await dead_letters(producer.batch) if letter.query.question == question]
    assert letters
    assert letters[0].error.error_type == "FlowFailed"
    assert await remove_dead_letters(producer.batch, [letter.query_id for letter in letters]) == len(letters)


async def test_attempts_run_out(producer: AsyncProducer, house: House) -> None:
    house.behave(STUBBORN, fault="hang")

    with pytest.raises(FlowTimeout):
        await producer.ask(fresh("q"), flow="stubborn", wait=40)


async def test_a_late_answer_is_found_instead_of_asking_again(producer: AsyncProducer, house: House) -> None:
    house.behave(STUBBORN, latency=0.5)
    question = fresh("q")

    answer = await producer.ask(question, flow="stubborn", wait=40)

    assert answer.text
    assert house.calls(question) == 1


async def test_the_answer_of_the_first_attempt_is_found_when_the_second_one_fails_too(
    producer: AsyncProducer, house: House
) -> None:
    for latency in (0.9, 1.2, 1.8):  # on a busy machine the first may be there before the second begins
        house.behave(STUBBORN, latency=latency)
        question = fresh("q")
        submission = await producer.submit(question, flow="stubborn")
        await until(partial(asyncio.to_thread, house.calls, question))
        house.behave(STUBBORN, fault="hang")
        answer = await producer.wait(submission.query_id, 40)
        if len(house.sent(question)) > 1:
            break

    first, second = house.sent(question)
    assert answer.chat_id == first["chatId"] != second["chatId"]
    await until(lambda: asyncio.to_thread(house.aborted, question))


async def test_what_still_runs_of_a_query_that_failed_is_aborted(producer: AsyncProducer, house: House) -> None:
    house.behave(STUBBORN, latency=30)
    question = fresh("q")

    with pytest.raises(FlowTimeout):
        await producer.ask(question, flow="stubborn", wait=40)

    assert len(house.sent(question)) == 2
    await until(lambda: asyncio.to_thread(house.aborted, question))


@pytest.mark.parametrize("deadline", [True, False])
async def test_what_still_runs_of_a_query_that_is_given_up_is_aborted(
    producer: AsyncProducer, house: House, deadline: bool
) -> None:
    house.behave(UNHURRIED, latency=30)
    question = fresh("q")
    submission = await producer.submit(question, flow="unhurried", timeout=3 if deadline else None)

    async def waits_for_its_retry() -> bool:
        return (await producer.status(submission.query_id)).reason == "retry"

    await until(waits_for_its_retry)
    if not deadline:
        await producer.cancel(submission.query_id)

    await until(lambda: asyncio.to_thread(house.aborted, question))
    assert (await producer.status(submission.query_id)).state == (State.EXPIRED if deadline else State.CANCELLED)


async def test_a_fallback_is_asked_at_once_where_the_provider_is_down(producer: AsyncProducer, house: House) -> None:
    house.behave(FRAGILE, fault="provider_500")
    question = fresh("Anything")

    answer = await producer.ask(question, flow="fragile", wait=20)

    assert answer.flow == "backup"
    assert [each["flow"] for each in house.sent(question)] == [FRAGILE, BACKUP]


async def test_a_deadline_cuts_a_running_query_and_the_caller_hears_at_once(
    producer: AsyncProducer, house: House
) -> None:
    house.behave(TECHNICAL, latency=8.0)
    start = time.monotonic()

    with pytest.raises(DeadlineExceeded):
        await producer.ask(fresh("How late is a python database?"), timeout=0.7, wait=30)

    assert time.monotonic() - start < 5

    async def nothing_runs() -> bool:
        return bool(house.client.zcard("flywheel:running:technical-analysis") == 0)

    await until(nothing_runs)


@pytest.mark.parametrize("late", [{"timeout": 1e-6}, {"timeout": -5}, {"deadline": datetime(2001, 1, 1, tzinfo=UTC)}])
async def test_what_comes_after_its_deadline_is_refused_and_calls_no_flow(
    producer: AsyncProducer, house: House, late: Any
) -> None:
    question = fresh("Too late for a python database?")
    with pytest.raises(DeadlineExceeded):
        await producer.submit(question, **late)
    (many,) = await producer.submit_many([question], **late)

    assert isinstance(many, DeadlineExceeded)
    assert house.sent(question) == []


async def test_a_deadline_ends_a_query_that_still_waits(producer: AsyncProducer) -> None:
    await pause(producer.batch, flow="backup")
    try:
        with pytest.raises(DeadlineExceeded):
            await producer.ask(fresh("q"), flow="backup", timeout=0.6, wait=30)
    finally:
        await resume(producer.batch, flow="backup")


async def test_a_cancelled_query_is_cut_and_its_waiter_hears(producer: AsyncProducer, house: House) -> None:
    house.behave(TECHNICAL, latency=8.0)
    submission = await producer.submit(fresh("How long is a python database?"))
    waiting = asyncio.create_task(producer.wait(submission.query_id, 30))

    async def running() -> bool:
        return (await producer.status(submission.query_id)).state == State.RUNNING

    await until(running)
    assert await producer.cancel(submission.query_id) == {submission.query_id: State.RUNNING}

    with pytest.raises(QueryCancelled):
        await asyncio.wait_for(waiting, 5)

    async def freed() -> bool:
        return bool(house.client.zcard("flywheel:running:technical-analysis") == 0)

    await until(freed)
    assert await producer.cancel(submission.query_id) == {submission.query_id: State.CANCELLED}


async def test_cancelling_the_leader_leaves_those_attached_their_answer(producer: AsyncProducer, house: House) -> None:
    house.behave(TECHNICAL, latency=0.8)
    question = fresh("How shared is a python database?")
    leader = await producer.submit(question)

    async def running() -> bool:
        return (await producer.status(leader.query_id)).state == State.RUNNING

    await until(running)
    follower = await producer.submit(question)
    await producer.cancel(leader.query_id)

    assert (await producer.wait(follower.query_id, 20)).text
    assert (await producer.status(leader.query_id)).state == State.CANCELLED
    assert house.calls(question) == 1


async def test_a_leader_cancelled_before_it_started_hands_over(producer: AsyncProducer) -> None:
    await pause(producer.batch, domain="technical")
    try:
        question = fresh("How queued is a python database?")
        leader = await producer.submit(question)

        async def parked() -> bool:
            return (await producer.status(leader.query_id)).reason == "paused"

        await until(parked)
        follower = await producer.submit(question)
        assert follower.attached_to == leader.query_id
        await producer.cancel(leader.query_id)
    finally:
        await resume(producer.batch, domain="technical")

    assert (await producer.wait(follower.query_id, 20)).text


async def test_a_whole_session_is_cancelled(producer: AsyncProducer, house: House) -> None:
    house.behave(TECHNICAL, latency=5.0)
    session = f"s-{uuid.uuid4().hex}"
    submitted = [await producer.submit(fresh(f"python database {n}"), session_id=session) for n in range(3)]

    cancelled = await producer.cancel(session_id=session)

    assert set(cancelled) == {each.query_id for each in submitted}
    assert {(await producer.status(each.query_id)).state for each in submitted} == {State.CANCELLED}


async def test_everything_of_an_owner_is_cancelled_and_nothing_of_another(house: House) -> None:
    house.behave(TECHNICAL, latency=1.5)
    async with (
        AsyncProducer(house.settings, owner=f"a-{uuid.uuid4().hex}") as mine,
        AsyncProducer(house.settings, owner=f"b-{uuid.uuid4().hex}") as theirs,
    ):
        ours = [await mine.submit(fresh("python database")) for _ in range(3)]
        other = await theirs.submit(fresh("python database"))

        assert len(await mine.cancel(everything=True)) == 3

        assert {(await mine.status(each.query_id)).state for each in ours} == {State.CANCELLED}
        assert (await theirs.wait(other.query_id, 20)).text


async def test_the_names_of_expired_queries_and_sessions_are_forgotten(producer: AsyncProducer, house: House) -> None:
    old = {"long-ago": 1_000}
    house.client.zadd(wire.owned_key(producer.owner), old)
    house.client.zadd(wire.sessions_key(producer.owner), old)

    session = uuid.uuid4().hex
    answer = await producer.ask(fresh("How do I use a python database?"), session_id=session, wait=20)

    assert house.client.zrange(wire.owned_key(producer.owner), 0, 0) != ["long-ago"]
    assert answer.query_id in house.client.zrange(wire.owned_key(producer.owner), 0, -1)
    assert "long-ago" not in house.client.zrange(wire.sessions_key(producer.owner), 0, -1)
    assert producer.asker.session_name(session) in house.client.zrange(wire.sessions_key(producer.owner), 0, -1)
    assert house.client.ttl(wire.owned_key(producer.owner)) > 0


async def test_a_paused_flow_waits_and_goes_on(producer: AsyncProducer, house: House) -> None:
    await pause(producer.batch, flow="backup")
    assert (await read_paused(producer.batch)).flows == ("backup",)
    submission = await producer.submit(fresh("q"), flow="backup")

    async def parked() -> bool:
        return (await producer.status(submission.query_id)).reason == "paused"

    await until(parked)
    assert await resume(producer.batch, flow="backup")

    assert (await producer.wait(submission.query_id, 20)).flow == "backup"


async def test_a_full_domain_refuses_and_says_when_to_come_back(producer: AsyncProducer, house: House) -> None:
    settings = house.settings.model_copy(update={"queue_limit": 3})
    await pause(producer.batch, domain="backup")
    try:
        async with AsyncProducer(settings) as limited:
            accepted = [await limited.submit(fresh("q"), domain="backup") for _ in range(3)]
            with pytest.raises(QueueFull) as caught:
                await limited.submit(fresh("q"), domain="backup")
            assert caught.value.retry_after > 0
            assert caught.value.queue == "domain.backup"
            await limited.submit(fresh("How do I use a python database?"), domain="technical")
    finally:
        await resume(producer.batch, domain="backup")
    for each in accepted:
        assert (await producer.wait(each.query_id, 20)).text


async def test_urgent_queries_overtake_and_slow_ones_still_come(producer: AsyncProducer, house: House) -> None:
    house.behave(NARROW, latency=0.1)
    await pause(producer.batch, flow="narrow")
    low = [await producer.submit(fresh("low"), flow="narrow", priority="low") for _ in range(6)]
    high = [await producer.submit(fresh("high"), flow="narrow", priority="high") for _ in range(2)]

    async def all_parked() -> bool:
        return bool(house.client.zcard("flywheel:parked:narrow") == 8)

    await until(all_parked)
    await resume(producer.batch, flow="narrow")
    await asyncio.gather(*(producer.wait(each.query_id, 30) for each in [*low, *high]))

    finished = {each.query_id: (await producer.status(each.query_id)).finished for each in [*low, *high]}
    last_high = max(finished[each.query_id] for each in high)  # type: ignore[type-var]
    first_low = min(finished[each.query_id] for each in low)  # type: ignore[type-var]
    assert last_high <= first_low  # type: ignore[operator]


async def test_a_flow_that_keeps_failing_is_left_alone_and_probed(producer: AsyncProducer, house: House) -> None:
    house.behave(BACKUP, fault="gateway_502")
    submitted = [await producer.submit(fresh("q"), flow="backup") for _ in range(8)]

    async def opened() -> bool:
        return bool(house.client.hexists("flywheel:circuit:backup", "open_until"))

    await until(opened, 30)
    house.behave(BACKUP)

    outcomes = await asyncio.gather(*(producer.wait(each.query_id, 60) for each in submitted), return_exceptions=True)
    assert any(not isinstance(outcome, Exception) for outcome in outcomes)

    async def closed() -> bool:
        return not house.client.exists("flywheel:circuit:backup")

    await until(closed)
