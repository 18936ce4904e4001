"""One trace per query on running workers, whatever happens to it: each test looks at what a real OTLP server got."""

from __future__ import annotations

import asyncio
import json
import signal
import uuid
from datetime import timedelta
from typing import Unpack

import pytest
from celery import Celery, chain
from langfuse_server import Failure
from pipeline.house import BACKUP, FRAGILE, TECHNICAL
from processes import wait_for

from agentic_flywheel.broker import wire
from agentic_flywheel.errors import FlywheelError
from agentic_flywheel.models import Answer, State
from agentic_flywheel.tracing.observation import root_span_id
from observability.conftest import Observed
from producer import AsyncProducer, Producer, QueryFields


def fresh(question: str) -> str:
    return f"{question} ({uuid.uuid4().hex[:8]})"


SEVERAL = "Which python database index helps, and which clause of the contract covers liability?"
ONE = "How do I connect python to a database?"


async def settled(producer: AsyncProducer, count: int, question: str, **fields: Unpack[QueryFields]) -> list[str]:
    """Ask so many at once; return the ids of all, answered or not."""
    submitted = [await producer.submit(fresh(question), **fields) for _ in range(count)]
    await asyncio.gather(*(producer.wait(each.query_id, 60) for each in submitted), return_exceptions=True)
    return [each.query_id for each in submitted]


async def test_two_hundred_queries_with_fan_out_and_retries_give_two_hundred_roots_and_no_orphan(
    observed: Observed, producer: AsyncProducer
) -> None:
    observed.house.behave(TECHNICAL, latency=0.05, fault="gateway_502", fault_share=0.2, seed=7)
    observed.house.behave(FRAGILE, fault="error_500")
    same = fresh(ONE)

    async def identical() -> list[str]:
        answers = await asyncio.gather(*(producer.ask(same, wait=60) for _ in range(30)))
        return [answer.query_id for answer in answers]

    groups = await asyncio.gather(
        settled(producer, 60, SEVERAL),
        settled(producer, 60, ONE),
        identical(),
        settled(producer, 20, ONE, session_id=fresh("talk").replace(" ", "-").strip("()")),
        settled(producer, 20, ONE, flow="fragile"),
        settled(producer, 10, ONE, domain="creative"),
    )
    ids = [query_id for group in groups for query_id in group]
    assert len(set(ids)) == 200
    wait_for(lambda: {span.trace_id for span in observed.server.roots()} >= set(ids), what="200 roots")
    observed.trace(ids[0])

    observed.check(*ids)
    assert len([span for span in observed.server.roots() if span.trace_id in ids]) == 200
    spans = [span for query_id in ids for span in observed.server.trace(query_id)]
    # What flows did is below their calls.
    calls = {span.span_id for span in spans if span.name == "flow-execution"}
    assert {span.parent for span in spans if not span.name.startswith("step ")} <= {None, *map(root_span_id, ids)}
    assert {span.parent for span in spans if span.name.startswith("step ")} <= calls
    names = [span.name for span in spans]
    assert names.count("retry-wait") > 0
    assert names.count("attach") > 0
    assert names.count("synthesis") >= 60
    parts = [span for span in observed.server.trace(groups[0][0]) if span.name == "flow-execution"]
    assert {span.attribute("metadata.part") for span in parts} == {"technical-analysis", "document-qa"}


async def test_a_trace_tells_everything_of_an_answered_query(observed: Observed, producer: AsyncProducer) -> None:
    answer = await producer.ask(fresh(ONE), wait=20, session_id=f"s-{uuid.uuid4().hex}")

    root, *steps = await asyncio.to_thread(observed.trace, answer.query_id)

    assert root.attributes["user.id"] == "ada"
    assert root.attributes["session.id"] == answer.session_id
    assert {"domain:technical", "band:high", "client:python"} <= set(root.attributes["langfuse.trace.tags"])
    assert root.attribute("output") == answer.text
    found = {step.name: step for step in steps}
    assert set(found) == {
        "queue-wait",
        "intent-classification",
        "flow-selection",
        "cache-check",
        "context",
        "flow-execution",
        "step Start",
        "step LLM 0",
        "response-formatting",
    }
    assert "technical-analysis" in found["intent-classification"].attribute("output")
    assert "reasoning" in " ".join(found["intent-classification"].attributes)
    assert found["cache-check"].attribute("metadata.key") == answer.cache_key
    called = found["flow-execution"]
    assert called.attribute("type") == "generation"
    assert called.attribute("metadata.flow_id") == TECHNICAL
    assert called.attribute("completion_start_time")
    model = found["step LLM 0"]
    assert answer.usage is not None
    assert json.loads(model.attribute("usage_details"))["total"] == answer.usage.total_tokens
    assert "langfuse.observation.usage_details" not in called.attributes, "the tokens would be counted twice"
    assert all(root.start <= step.start and step.end <= root.end + 5_000_000 for step in steps)


async def test_an_answer_from_the_front_is_traced_by_its_producer(observed: Observed, producer: AsyncProducer) -> None:
    question = fresh(ONE)
    first = await producer.ask(question, wait=20)
    second = await producer.ask(question, wait=20)

    root, step = await asyncio.to_thread(observed.trace, second.query_id)

    assert second.cached
    assert root.resource["service.name"] == "flywheel-producer"
    assert "cached" in root.attributes["langfuse.trace.tags"]
    assert root.attribute("output") == first.text
    assert step.name == "cache-check"
    assert step.attribute("metadata.key") == first.cache_key
    assert 0 <= float(step.attribute("metadata.age_s")) < 60
    observed.check(first.query_id, second.query_id)


@pytest.mark.parametrize("when", ["queued", "running"])
async def test_a_cancelled_query_has_one_root_wherever_it_was(
    observed: Observed, producer: AsyncProducer, when: str
) -> None:
    observed.house.behave(TECHNICAL, latency=30)
    session = f"s-{uuid.uuid4().hex}"
    running = (await producer.submit(fresh(ONE), session_id=session)).query_id
    waiting = (await producer.submit(fresh(ONE), session_id=session)).query_id
    await reaches(producer, running, State.RUNNING)
    query_id = running if when == "running" else waiting

    states = await producer.cancel(query_id)
    again = await producer.cancel(query_id)
    await producer.cancel(session_id=session)

    root, *steps = await asyncio.to_thread(observed.trace, query_id)
    assert states[query_id] is (State.RUNNING if when == "running" else State.WAITING)
    assert again[query_id] is State.CANCELLED
    assert root.attribute("level") == "WARNING"
    assert root.attribute("status_message") == "cancelled: asked by its owner"
    assert ("flow-execution" in [step.name for step in steps]) is (when == "running")
    observed.check(running, waiting)


async def test_a_query_whose_time_is_over_has_one_root(observed: Observed, producer: AsyncProducer) -> None:
    observed.house.behave(TECHNICAL, latency=30)
    submitted = await producer.submit(fresh(ONE), timeout=timedelta(seconds=0.5))

    with pytest.raises(FlywheelError):
        await producer.wait(submitted.query_id, 20)

    root, *_ = await asyncio.to_thread(observed.trace, submitted.query_id)
    assert root.attribute("level") == "ERROR"
    observed.check(submitted.query_id)


async def test_a_fallback_and_a_failure_for_good_have_one_root_each(
    observed: Observed, producer: AsyncProducer
) -> None:
    observed.house.client.delete(wire.circuit_key("fragile"))
    observed.house.behave(FRAGILE, fault="error_500")
    rescued = await producer.ask(fresh(ONE), wait=20, flow="fragile")
    observed.house.behave(BACKUP, fault="error_500")
    lost = await producer.submit(fresh(ONE), flow="backup")
    with pytest.raises(FlywheelError):
        await producer.wait(lost.query_id, 20)

    calls = [
        span for span in await asyncio.to_thread(observed.trace, rescued.query_id) if span.name == "flow-execution"
    ]
    failed, *_ = await asyncio.to_thread(observed.trace, lost.query_id)

    assert [span.attribute("metadata.flow_key") for span in calls] == ["fragile", "backup"]
    assert [span.is_error for span in calls] == [True, False]
    assert failed.is_error
    observed.check(rescued.query_id, lost.query_id)


async def test_what_a_killed_worker_had_and_what_it_had_ended_are_one_trace_each(
    observed: Observed, producer: AsyncProducer
) -> None:
    observed.house.behave(TECHNICAL, latency=30)
    doomed = await asyncio.to_thread(observed.expendable)
    others = [worker for worker in observed.house.workers if worker is not doomed and worker.alive]
    for worker in others:
        worker.send(signal.SIGSTOP)
    try:
        under_way = [(await producer.submit(fresh(ONE))).query_id for _ in range(5)]
        for query_id in under_way:
            await reaches(producer, query_id, State.RUNNING)
        wait_for(lambda: all(map(observed.server.trace, under_way)), what="the first steps have arrived")
        observed.server.fail("hanging")  # so that the roots of what it ends are still with it
        ended = await settled(producer, 20, ONE, flow="creative-orientation")
        assert not any(map(observed.server.trace, ended))
    finally:
        doomed.kill()
        observed.server.mend()
        observed.house.behave(TECHNICAL)
        for worker in others:
            worker.send(signal.SIGCONT)

    answers = await asyncio.gather(*(producer.wait(query_id, 60) for query_id in under_way))
    steps = await asyncio.to_thread(observed.names, under_way[-1])
    for query_id in ended:
        wait_for(lambda query_id=query_id: observed.server.trace(query_id), what="the root is sent by another worker")  # type: ignore[misc]

    assert {answer.attempts for answer in answers} == {2}
    assert steps.count("intent-classification") == 1
    assert steps.count("flow-execution") == 1, "what was under way died with its worker"
    observed.check(*under_way, *ended)


async def test_plain_celery_tasks_and_chains_are_one_trace_each(observed: Observed, producer: AsyncProducer) -> None:
    app = Celery("elsewhere", broker=observed.house.broker.url, backend=observed.house.broker.url)
    alone, last = uuid.uuid4().hex, uuid.uuid4().hex
    queued: dict[str, object] = {"queue": "classify", "immutable": True}
    first = app.signature("flywheel.classify", [{"question": fresh(ONE), "owner": "ada"}], **queued)
    second = app.signature("flywheel.classify", [{"question": fresh(ONE)}], task_id=last, **queued)

    app.send_task("flywheel.classify", [fresh(ONE)], queue="classify", task_id=alone)
    chain(first, second).apply_async()

    for query_id in (alone, last):
        root, *steps = await asyncio.to_thread(observed.trace, query_id)
        assert "flow-execution" in [step.name for step in steps]
        assert [step.name for step in steps if step.start < root.start] == []
    observed.check(alone, last)
    app.close()


async def test_a_query_that_cannot_be_accepted_has_a_root(observed: Observed) -> None:
    app = Celery("elsewhere", broker=observed.house.broker.url, backend=observed.house.broker.url)
    sent = app.send_task("flywheel.classify", [{"question": "x", "priority": "urgent"}], queue="classify")

    root, *_ = await asyncio.to_thread(observed.trace, sent.id.replace("-", ""))

    assert root.is_error
    app.close()


def test_scores_are_kept_sent_and_corrected(observed: Observed) -> None:
    with Producer(observed.settings, owner="ada") as producer:
        answer = producer.ask(fresh(ONE), wait=20)
        first = producer.score(answer.query_id, 4)
        assert producer.score(answer.query_id, 4) == first
        producer.score(answer.query_id, 8, comment="good, but long")
        producer.score(answer.query_id, True, name="helpful")
        with pytest.raises(FlywheelError, match="There is no query"):
            producer.score("0" * 32, 8)

    def sent() -> set[tuple[object, ...]]:
        scores = [each for each in observed.server.scores.values() if each["traceId"] == answer.query_id]
        return {(each["name"], each["value"], each["dataType"]) for each in scores}

    wanted = {("rating", 8, "NUMERIC"), ("helpful", 1, "BOOLEAN")}
    wait_for(lambda: sent() == wanted, within=20, what="both scores are at Langfuse", every=0.1)


@pytest.mark.parametrize("failure", ["hanging", "status", "malformed", "reset"])
async def test_a_langfuse_that_fails_costs_no_query_its_answer(
    observed: Observed, producer: AsyncProducer, failure: Failure
) -> None:
    observed.server.fail(failure, times=20)

    answers = await asyncio.gather(*(producer.ask(fresh(ONE), wait=20) for _ in range(5)))

    assert all(isinstance(answer, Answer) and answer.text for answer in answers)


async def test_a_worker_ends_although_langfuse_hangs(observed: Observed, producer: AsyncProducer) -> None:
    """The last of this folder: nobody needs the workers any more."""
    worker = next(each for each in observed.house.workers if each.alive)
    observed.server.fail("hanging")
    await asyncio.gather(*(producer.ask(fresh(ONE), wait=20) for _ in range(30)))

    assert await asyncio.to_thread(worker.terminate, within=30) == 0


async def reaches(producer: AsyncProducer, query_id: str, state: State) -> None:
    async with asyncio.timeout(20):
        while (await producer.status(query_id)).state is not state:
            await asyncio.sleep(0.02)
