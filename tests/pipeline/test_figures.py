"""What is counted of a flow is counted for the flow that was asked."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from agentic_flywheel.broker.control import pause, resume
from agentic_flywheel.broker.wire import CLASSIFY_QUEUE, domain_queue
from agentic_flywheel.errors import FlowFailed
from agentic_flywheel.figures.health import FlowHealth, read_health
from agentic_flywheel.figures.metrics import SteadyCounts
from agentic_flywheel.figures.usage import UsageRow, read_usage
from agentic_flywheel.figures.waiting import QueueWait, read_waits
from agentic_flywheel.models import State
from pipeline.house import BACKUP, FRAGILE, TECHNICAL, House
from pipeline.test_control import fresh, until
from producer import AsyncProducer


@pytest.fixture
def figures(house: House) -> None:
    """An empty sheet: no figure of an earlier test."""
    for key in house.client.scan_iter("flywheel:tally:*"):
        house.client.delete(key)


async def health_of(producer: AsyncProducer, *flows: str) -> list[FlowHealth]:
    found = {each.flow: each for each in (await read_health(producer.batch, producer.catalog)).flows}
    return [found[flow] for flow in flows]


async def usage_of(producer: AsyncProducer, flow: str) -> UsageRow:
    rows = (await read_usage(producer.batch, producer.catalog)).rows
    return next(each for each in rows if each.name == flow)


@pytest.mark.usefixtures("figures")
async def test_a_flow_that_always_falls_back_is_not_hidden(producer: AsyncProducer, house: House) -> None:
    house.behave(FRAGILE, fault="error_500")
    for _ in range(3):
        answer = await producer.ask(fresh("f"), flow="fragile", wait=20)
        assert answer.flow == "backup"
        assert answer.explanation.endswith("fragile failed, and its fallback backup answered.")

    fragile, backup = await health_of(producer, "fragile", "backup")

    assert (fragile.queries, fragile.answered, fragile.fallen_back, fragile.failed) == (3, 0, 3, 0)
    assert fragile.verdict == "falls back: 100%"
    assert fragile.error_rate == 1
    assert fragile.errors == {"FlowFailed": 3}
    assert (backup.queries, backup.stood_in) == (0, 3)
    row = await usage_of(producer, "fragile")
    assert (row.queries, row.answered, row.fallen_back, row.failed) == (3, 0, 3, 0)
    counted = (await SteadyCounts().read(producer.batch, now=datetime.now(UTC))).flows
    assert counted["fragile"].queries("fallen_back") == 3
    assert counted["backup"].stood_in == 3


@pytest.mark.usefixtures("figures")
async def test_questions_that_attached_when_they_were_submitted_count_for_the_flow_that_answered(
    producer: AsyncProducer, house: House
) -> None:
    house.behave(TECHNICAL, latency=0.4)
    question = fresh("How do I use a python database?")

    answers = await asyncio.gather(*(producer.ask(question, wait=20) for _ in range(4)))

    assert sum(answer.attached_to is not None for answer in answers) == 3
    rows = {row.name: row for row in (await read_usage(producer.batch, producer.catalog)).rows}
    assert "(none)" not in rows
    row = rows["technical-analysis"]
    assert (row.queries, row.answered, row.fallen_back) == (4, 4, 0)
    counted = (await SteadyCounts().read(producer.batch, now=datetime.now(UTC))).flows
    assert counted["technical-analysis"].queries("attached") == 3


@pytest.mark.usefixtures("figures")
async def test_a_query_that_its_fallback_fails_too_failed_for_the_flow_that_was_asked(
    producer: AsyncProducer, house: House
) -> None:
    house.behave(FRAGILE, fault="error_500")
    house.behave(BACKUP, fault="error_500")
    with pytest.raises(FlowFailed):
        await producer.ask(fresh("f"), flow="fragile", wait=20)

    fragile, backup = await health_of(producer, "fragile", "backup")

    assert (fragile.queries, fragile.fallen_back, fragile.failed) == (1, 0, 1)
    assert (backup.queries, backup.stood_in) == (0, 0)


@pytest.mark.usefixtures("figures")
async def test_each_flow_of_a_fan_out_is_counted_by_its_part(producer: AsyncProducer, house: House) -> None:
    house.behave(TECHNICAL, fault="error_500")
    answer = await producer.ask(
        fresh("Which python database index helps, and which clause of the contract covers liability?"), wait=20
    )
    assert len(answer.parts) == 2

    technical, documents = await health_of(producer, "technical-analysis", "document-qa")

    assert (technical.queries, technical.failed, documents.queries, documents.answered) == (1, 1, 1, 1)
    assert technical.errors == {"FlowFailed": 1}


async def test_after_a_fallback_the_flow_is_asked_again_as_soon_as_it_is_well(
    producer: AsyncProducer, house: House
) -> None:
    question = fresh("f")
    house.behave(FRAGILE, fault="error_500")
    assert (await producer.ask(question, flow="fragile", wait=20)).flow == "backup"
    house.reset()

    answer = await producer.ask(question, flow="fragile", wait=20)

    assert (answer.flow, answer.cached) == ("fragile", False)


async def waits_of(producer: AsyncProducer, *queues: str, later: timedelta = timedelta()) -> list[QueueWait]:
    now = datetime.now(UTC) + later
    found = {each.queue: each for each in await read_waits(producer.batch, producer.catalog, now=now)}
    return [found[queue] for queue in queues]


async def test_what_waits_is_counted_and_its_age_told_also_behind_a_turn_of_its_session(
    producer: AsyncProducer, house: House
) -> None:
    technical = domain_queue("technical")

    async def nothing_waits() -> bool:
        return all(each.open == 0 for each in await waits_of(producer, technical, CLASSIFY_QUEUE))

    await until(nothing_waits)  # of an earlier test
    house.behave(TECHNICAL, latency=2.0)
    session = f"s-{uuid.uuid4().hex}"
    turns = [await producer.submit(fresh(f"python database {n}"), session_id=session) for n in range(3)]

    async def first_runs() -> bool:
        return (await producer.status(turns[0].query_id)).state == State.RUNNING

    async def those_behind_it_are_told() -> bool:
        """They are in no queue, and not routed."""
        before = await first_runs()
        routed, in_line = await waits_of(producer, technical, CLASSIFY_QUEUE, later=timedelta(hours=1))
        if not (before and await first_runs()):
            return False
        assert (routed.open, in_line.open) == (1, 2)
        assert routed.oldest == timedelta()
        assert timedelta(hours=1) < in_line.oldest < timedelta(hours=1, minutes=1)
        return True

    await until(those_behind_it_are_told)

    for each in turns:
        await producer.wait(each.query_id, 30)
    routed, in_line = await waits_of(producer, technical, CLASSIFY_QUEUE)
    assert routed == QueueWait(queue=technical, open=0, oldest=timedelta())
    assert in_line.oldest == timedelta()


async def test_what_a_person_has_paused_is_counted_and_calls_for_no_workers(
    producer: AsyncProducer, house: House
) -> None:
    queue = domain_queue("fragile")
    await pause(producer.batch, flow="fragile")
    try:
        paused = await producer.submit(fresh("a question"), flow="fragile")

        async def parked() -> bool:
            return (await producer.status(paused.query_id)).reason == "paused"

        await until(parked)
        assert await waits_of(producer, queue) == [QueueWait(queue=queue, open=1, oldest=timedelta())]
    finally:
        await resume(producer.batch, flow="fragile")
    await producer.wait(paused.query_id, 30)
