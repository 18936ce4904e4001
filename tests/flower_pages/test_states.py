"""Flower shows each query once, in the state that the query itself has, with the reason, and no text of it."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from celery import Celery
from pipeline.house import BACKUP, FRAGILE, NARROW, TECHNICAL, House

from agentic_flywheel.errors import DeadlineExceeded, FlowFailed, QueryCancelled
from flower_pages.conftest import Flower
from producer import AsyncProducer

#: A text that is in every question here and, as the sandbox repeats questions, in every answer.
MARKER = "xylophone"
CREATIVE = "7d405a51-968d-4467-9ae6-d49bf182cdf9"


def fresh(question: str) -> str:
    return f"{question} {MARKER} ({uuid.uuid4().hex[:8]})"


async def test_an_answered_query_succeeds_once_with_its_flow_and_length(
    producer: AsyncProducer, flower: Flower
) -> None:
    question = fresh("Which index does this join need?")
    answer = await producer.ask(question, wait=20)

    row = await flower.row(answer.query_id, "SUCCESS")

    assert row["result"] == f"{len(answer.text)} characters, {answer.flow}, {answer.domain}"
    assert row["args"] == f"({answer.flow}, {answer.domain}, {len(question)} characters)"
    assert row["runtime"] > 0
    assert row["exception"] is None


async def test_a_failed_query_is_a_failure_with_its_reason(
    producer: AsyncProducer, flower: Flower, house: House
) -> None:
    house.behave(TECHNICAL, fault="error_500")
    query = await producer.submit(fresh("broken"), flow="technical-analysis")
    with pytest.raises(FlowFailed) as failed:
        await producer.wait(query.query_id, timeout=20)

    row = await flower.row(query.query_id, "FAILURE", "SUCCESS")

    assert row["state"] == "FAILURE"
    assert row["succeeded"] is None
    assert row["exception"].startswith(f"FlowFailed: {failed.value.message.rstrip('.')}")
    assert "What to do: " in row["exception"]


async def test_a_question_that_is_refused_by_its_classification_is_a_failure(flower: Flower, house: House) -> None:
    client = Celery("client", broker=house.broker.url, set_as_current=False)
    sent = client.send_task("flywheel.classify", ({"question": MARKER, "wrong": MARKER},), queue="classify")

    row = await flower.row(sent.id, "FAILURE", "SUCCESS")

    assert row["state"] == "FAILURE"
    assert row["exception"].startswith("InvalidQuery")
    assert MARKER not in str({**row, "exception": ""})


@pytest.mark.parametrize("protocol", [1, 2])
async def test_a_failed_query_of_a_plain_client_is_a_failure(flower: Flower, house: House, protocol: int) -> None:
    house.behave(TECHNICAL, fault="error_500")
    client = Celery("client", broker=house.broker.url, set_as_current=False)
    client.conf.task_protocol = protocol
    query = {"question": fresh("broken"), "flow": "technical-analysis"}
    sent = client.send_task("flywheel.classify", (query,), queue="classify")

    row = await flower.row(sent.id, "FAILURE", "SUCCESS")

    assert row["state"] == "FAILURE"
    assert row["succeeded"] is None
    assert row["exception"].startswith("FlowFailed: ")


async def test_a_query_waits_for_its_retry_as_retry_and_then_succeeds(
    producer: AsyncProducer, flower: Flower, house: House
) -> None:
    house.behave(NARROW, rate_limit={"calls": 1, "seconds": 2})
    first = await producer.submit(fresh("first"), flow="narrow")
    await producer.wait(first.query_id, timeout=20)
    second = await producer.submit(fresh("second"), flow="narrow")

    retried = await flower.row(second.query_id, "RETRY")
    assert retried["exception"].startswith("FlowRateLimited: ")
    await producer.wait(second.query_id, timeout=30)
    answered = await flower.row(second.query_id, "SUCCESS")
    assert answered["retried"] is not None


async def test_a_query_that_falls_back_tells_why(producer: AsyncProducer, flower: Flower, house: House) -> None:
    house.behave(FRAGILE, fault="error_500")
    answer = await producer.ask(fresh("falls"), flow="fragile", wait=20)

    row = await flower.row(answer.query_id, "SUCCESS")

    assert row["retried"] is not None
    assert "'fragile'" in row["exception"]
    assert row["result"].endswith(" characters, backup, backup")


@pytest.mark.parametrize("waiting", [False, True], ids=["while its flow runs", "while it waits"])
async def test_a_cancelled_query_is_revoked(
    producer: AsyncProducer, flower: Flower, house: House, waiting: bool
) -> None:
    house.behave(NARROW, latency=20)
    blockers = [await producer.submit(fresh("blocks"), flow="narrow") for _ in range(2 if waiting else 0)]
    for each in blockers:
        await flower.row(each.query_id, "STARTED")
    query = await producer.submit(fresh("cancelled"), flow="narrow")
    await flower.row(query.query_id, "STARTED")
    await producer.cancel(query.query_id)
    with pytest.raises(QueryCancelled):
        await producer.wait(query.query_id, timeout=30)

    row = await flower.row(query.query_id, "REVOKED")

    assert row["result"] == "QueryCancelled"
    for each in blockers:
        await producer.cancel(each.query_id)


async def test_an_expired_query_is_a_failure_that_says_so(
    producer: AsyncProducer, flower: Flower, house: House
) -> None:
    house.behave(BACKUP, latency=20)
    query = await producer.submit(fresh("expires"), flow="backup", timeout=2)
    with pytest.raises(DeadlineExceeded):
        await producer.wait(query.query_id, timeout=30)

    row = await flower.row(query.query_id, "FAILURE")

    assert row["exception"].startswith("DeadlineExceeded: ")


async def test_a_fan_out_has_a_row_for_the_query_and_one_for_each_part(producer: AsyncProducer, flower: Flower) -> None:
    question = fresh("Write a poem about the sea, and why is the docker build slow?")
    answer = await producer.ask(question, wait=20)

    whole = await flower.row(answer.query_id, "SUCCESS")
    parts = [await flower.row(f"{answer.query_id}-{part.flow}", "SUCCESS") for part in answer.parts]

    assert len(parts) == 2
    assert whole["result"].startswith(f"{len(answer.text)} characters, ")
    assert {each["result"].split(", ")[1] for each in parts} == {part.flow for part in answer.parts}
    assert {each["root_id"] for each in parts} == {answer.query_id}


async def test_parts_of_a_cancelled_fan_out_do_not_stay_started(
    producer: AsyncProducer, flower: Flower, house: House
) -> None:
    for flow_id in (TECHNICAL, CREATIVE):
        house.behave(flow_id, latency=20)
    query = await producer.submit(fresh("Write a poem about the sea, and why is the docker build slow?"))
    parts = [f"{query.query_id}-{flow}" for flow in ("technical-analysis", "creative-orientation")]
    for part in parts:
        await flower.row(part, "STARTED")
    await producer.cancel(query.query_id)

    for task_id in (query.query_id, *parts):
        await flower.row(task_id, "REVOKED")


async def test_an_answer_from_the_cache_says_so(producer: AsyncProducer, flower: Flower) -> None:
    question = fresh("cached")
    first = await producer.ask(question, flow="prose", wait=20)
    # Typed otherwise, so that a worker finds it and not the submission.
    second = await producer.ask(question.upper(), flow="prose", wait=20)
    assert second.cached

    row = await flower.row(second.query_id, "SUCCESS")

    assert row["result"] == f"cached, {len(first.text)} characters, prose, prose"


async def test_who_asked_the_same_meanwhile_succeeds_too(producer: AsyncProducer, flower: Flower, house: House) -> None:
    house.behave(BACKUP, latency=1)
    question = fresh("same")
    asked = [await producer.submit(question, flow="backup") for _ in range(3)]
    await asyncio.gather(*(producer.wait(each.query_id, timeout=20) for each in asked))

    for each in asked:
        row = await flower.row(each.query_id, "SUCCESS")
        assert row["result"].endswith(" characters, backup, backup")
        assert row["args"].startswith("(backup, backup, ")


async def test_flower_never_shows_a_text_of_a_question_or_an_answer(
    producer: AsyncProducer, flower: Flower, house: House
) -> None:
    answer = await producer.ask(fresh("seen"), wait=20)
    assert MARKER in answer.text
    client = Celery("client", broker=house.broker.url, backend=house.broker.url, set_as_current=False)
    plain = client.send_task("flywheel.classify", (fresh("plain"),), queue="classify")
    client.conf.task_protocol = 1
    older = client.send_task("flywheel.classify", (fresh("of protocol 1"),), queue="classify")
    client.conf.task_protocol = 2
    linked = client.send_task("their.task", ("theirs",))
    chained = client.signature("flywheel.classify", (fresh("linked"),), queue="classify")
    chained.link(client.signature("their.task", queue="nobody-reads-it"))
    followed = chained.apply_async()
    house.behave(NARROW, latency=2)
    slow = await producer.submit(fresh("slow"), flow="narrow")
    await flower.row(slow.query_id, "STARTED")

    (name,) = await flower.json("/api/workers?refresh=true")
    pages = [await flower.text(f"/task/{slow.query_id}"), await flower.text(f"/worker/{name}")]
    pages.append(str(await flower.json("/api/workers?refresh=true")))
    await producer.wait(slow.query_id, timeout=20)
    for each in (plain.id, older.id, followed.id):
        await flower.row(each, "SUCCESS")
        pages.append(await flower.text(f"/task/{each}"))
    pages.append(str(await flower.json("/api/tasks?limit=10000")))

    assert linked
    assert slow.query_id in pages[0]
    assert not [page for page in pages if MARKER in page]
    assert not [worker for worker in house.workers if MARKER in worker.log]
