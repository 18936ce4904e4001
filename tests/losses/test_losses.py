"""Ways in which accepted queries were lost, each as small as it could be made. The numbers are those of issue 11."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from closing import BROKER_AWAY, UNREADABLE
from pipeline.house import BRIEF, REGISTRY, TECHNICAL, House
from processes import IMPORT_PATH, wait_for

from agentic_flywheel.asker import Asker
from agentic_flywheel.broker import wire
from agentic_flywheel.broker.control import pause, resume
from agentic_flywheel.broker.records import dead_letters
from agentic_flywheel.broker.transitions import Transitions
from agentic_flywheel.errors import InvalidQuery
from agentic_flywheel.models import Route, Target
from agentic_flywheel.registry import load_catalog
from producer import AsyncProducer
from workers.ending import UNREADABLE as NOT_READABLE

TERMINAL = {"succeeded", "failed", "cancelled", "expired"}


def drained(house: House, queue: str) -> int:
    """Return the completions of a queue that are counted."""
    return sum(int(house.client.get(key) or 0) for key in house.client.scan_iter(wire.drained_key(f"{queue}:*")))


def asked() -> str:
    return f"How do I connect python to database {uuid.uuid4().hex[:8]}?"


def state(house: House, query_id: str) -> str:
    return house.client.hget(f"flywheel:query:{query_id}", "state") or "unknown"  # type: ignore[return-value]


def ended(house: House, query_ids: list[str], within: float) -> dict[str, str]:
    """Return every query's state, once all have ended or the time is over."""
    deadline = time.monotonic() + within
    while True:
        with house.client.pipeline(transaction=False) as pipe:
            for query_id in query_ids:
                pipe.hget(f"flywheel:query:{query_id}", "state")
            states = {query_id: said or "unknown" for query_id, said in zip(query_ids, pipe.execute(), strict=True)}
        if set(states.values()) <= TERMINAL or time.monotonic() > deadline:
            return states
        time.sleep(0.05)


def all_ended(house: House, query_ids: list[str], within: float) -> bool:
    left = {each: said for each, said in ended(house, query_ids, within).items() if said not in TERMINAL}
    assert not left, f"{len(left)} of {len(query_ids)} have not ended: {dict(list(left.items())[:5])}"
    return True


def answered(house: House, query_ids: list[str], within: float) -> bool:
    wrong = {each: said for each, said in ended(house, query_ids, within).items() if said != "succeeded"}
    assert not wrong, f"{len(wrong)} of {len(query_ids)} have no answer: {dict(list(wrong.items())[:5])}"
    return True


@contextmanager
def plain_client(house: House) -> Iterator[Celery]:
    with Celery(broker=house.broker.url, backend=house.broker.url, set_as_current=False) as client:
        yield client


def has_result(house: House, task_id: str, within: float) -> bool:
    wait_for(lambda: house.client.exists(f"celery-task-meta-{task_id}"), within=within, what=f"a result of {task_id!r}")
    return True


# 1: an exception that nobody expects


@pytest.mark.parametrize("task_id", ["a b", 'q"x', "a\\b", "a|b"])
def test_a_plain_client_may_choose_any_task_id(house: House, patience: float, task_id: str) -> None:
    with plain_client(house) as client:
        client.send_task("flywheel.classify", [asked()], queue="classify", task_id=task_id)

        assert has_result(house, task_id, patience)


@pytest.mark.provokes("met a fault that nobody foresaw")
def test_half_a_character_in_the_metadata_loses_nothing(house: House, patience: float) -> None:
    task_id = uuid.uuid4().hex
    with plain_client(house) as client:
        query = {"question": asked(), "metadata": {"name": "\ud83d"}}
        client.send_task("flywheel.classify", [query], queue="classify", task_id=task_id)

        assert has_result(house, task_id, patience)


@pytest.mark.provokes("met a fault that nobody foresaw")
def test_a_part_of_a_query_that_nobody_asked_fails_without_a_call(house: House, patience: float) -> None:
    query_id = uuid.uuid4().hex
    with plain_client(house) as client:
        client.send_task("flywheel.answer", [query_id, "x", "y|z", "p|q"], queue="classify", task_id=query_id)

        assert has_result(house, query_id, patience)
    assert state(house, query_id) == "failed"
    assert house.calls(NOT_READABLE.question) == 0


def test_what_stands_for_an_unreadable_query_is_never_asked(house: House, patience: float) -> None:
    """As after a worker that has died between the record and its end."""
    query_id = uuid.uuid4().hex
    with plain_client(house) as client:
        fields = NOT_READABLE.model_dump(mode="json", exclude_defaults=True)
        client.send_task("flywheel.classify", [fields], queue="classify", task_id=query_id)

        assert has_result(house, query_id, patience)
    assert state(house, query_id) == "failed"
    assert house.calls(NOT_READABLE.question) == 0


def test_a_plain_client_that_names_its_arguments_hears_of_it(house: House, patience: float) -> None:
    task_id = uuid.uuid4().hex
    with plain_client(house) as client:
        client.send_task("flywheel.classify", kwargs={"question": asked()}, queue="classify", task_id=task_id)

        assert has_result(house, task_id, patience)


async def test_data_that_looks_like_a_typed_value_loses_nothing(
    house: House, producer: AsyncProducer, patience: float
) -> None:
    config: dict[str, Any] = {"x": {"__type__": "datetime", "__value__": "no"}}
    query_id = (await producer.submit(asked(), config=config)).query_id

    assert all_ended(house, [query_id], patience)


async def test_a_key_with_a_line_end_in_it_loses_nothing(
    house: House, producer: AsyncProducer, patience: float
) -> None:
    for worker in house.workers:
        worker.kill()
    await asyncio.to_thread(house.worker, FLOWISE_API_KEY="sec\nret")
    for key in house.client.scan_iter(wire.drained_key("*")):
        house.client.delete(key)
    query_id = (await producer.submit(asked())).query_id

    try:
        assert all_ended(house, [query_id], patience)
        (letter,) = [each for each in await dead_letters(producer.batch) if each.query_id == query_id]
        assert letter.attempts == int(house.client.hget(wire.record_key(query_id), "attempts") or 0) == 1
        # Classified once; what failed was in the queue of its domain.
        assert (drained(house, "classify"), drained(house, "domain.technical")) == (1, 1)
    finally:
        house.workers[-1].kill()


# 2: verdicts that nobody reads


async def test_a_worker_that_stood_still_and_then_fails_loses_nothing(
    house: House, producer: AsyncProducer, patience: float
) -> None:
    # Only the calls under way fail: a flow that fails for good is left alone for longer and longer.
    # They take long enough that all twelve are under way at once, also on a busy machine.
    house.behave(TECHNICAL, latency=8, fault="provider_500", fault_first=12)
    (worker,) = [worker for worker in house.workers if worker.alive]
    ids = [each.query_id for each in await producer.submit_many([asked() for _ in range(12)])]  # type: ignore[union-attr]
    await asyncio.to_thread(wait_for, lambda: all(state(house, each) == "running" for each in ids), within=30)
    await asyncio.to_thread(house.worker)
    os.kill(worker.pid, signal.SIGSTOP)
    await asyncio.sleep(5.3)
    os.kill(worker.pid, signal.SIGCONT)

    assert all_ended(house, ids, patience)


async def test_a_worker_that_dies_amid_a_clarification_loses_nothing(
    house: House, producer: AsyncProducer, patience: float
) -> None:
    flow = load_catalog(house.registry).flow("technical-analysis")
    target = Target(flow=flow.key, domain=flow.domain, confidence=0.3)
    route = Route(targets=(target,), decision="clarify", band="low", confidence=0.3)
    with house.standing_still():
        query_id = (await producer.submit(asked())).query_id
        # As its worker does before it writes the choices; then it dies, and the message comes to the next one.
        await Transitions(producer.batch, house.settings).route(
            query_id,
            version=wire.VERSION,
            route=route.model_dump_json(exclude_defaults=True),
            flow=flow,
            intent="",
            event="{}",
            parcels={},
        )

    assert all_ended(house, [query_id], patience)


async def test_a_worker_that_dies_amid_a_renewal_loses_no_follower(
    house: House, producer: AsyncProducer, patience: float
) -> None:
    question = asked()
    await producer.ask(question, flow="brief", wait=30)
    await asyncio.sleep(0.5)
    house.behave(BRIEF, latency=20)
    assert (await producer.ask(question, flow="brief", wait=30)).cached
    follower = (await producer.submit(question, flow="brief", cache="refresh")).query_id
    await asyncio.to_thread(wait_for, lambda: state(house, follower) == "waiting", what="it follows the renewal")
    await asyncio.sleep(0.5)  # until its own delivery is acknowledged
    for worker in house.workers:
        worker.kill()
    house.behave(BRIEF)
    await asyncio.to_thread(house.worker)

    assert answered(house, [follower], patience + 12)


async def test_a_turn_without_a_held_message_is_not_dropped(
    house: House, producer: AsyncProducer, patience: float
) -> None:
    house.behave(TECHNICAL, latency=1)
    session = f"s-{uuid.uuid4().hex[:8]}"
    first, second, third = [(await producer.submit(asked(), session_id=session)).query_id for _ in range(3)]
    assert house.client.hdel(wire.waiting_turns_key(Asker().session_name(session)), second)

    assert answered(house, [first, second, third], patience + 5)


# 3: messages that cannot be read or delivered


def _without_body(message: dict[str, Any]) -> str:
    return json.dumps({**message, "body": "!"})


def _without_headers(message: dict[str, Any]) -> str:
    return json.dumps({**message, "headers": {}})


def _half(message: dict[str, Any]) -> str:
    return json.dumps(message)[:300]


def _with_another_coding(message: dict[str, Any]) -> str:
    return json.dumps({**message, "content-type": "application/x-unknown"})


@pytest.mark.provokes(UNREADABLE, "Can't decode message body")
@pytest.mark.parametrize("damage", [_without_body, _without_headers, _half, _with_another_coding])
async def test_the_query_of_a_damaged_message_ends(
    house: House, producer: AsyncProducer, patience: float, damage: Callable[[dict[str, Any]], str]
) -> None:
    with house.standing_still():
        query_id = (await producer.submit(asked())).query_id
        (raw,) = house.client.lrange("classify", 0, -1)
        house.client.lset("classify", 0, damage(json.loads(raw)))

    assert all_ended(house, [query_id], patience)


@pytest.mark.provokes(UNREADABLE)
async def test_a_delivery_tag_that_is_no_text_stops_nobody(
    house: House, producer: AsyncProducer, patience: float
) -> None:
    house.client.lpush("classify", json.dumps({"body": "e30=", "headers": {}, "properties": {"delivery_tag": {}}}))
    query_id = (await producer.submit(asked())).query_id

    assert answered(house, [query_id], patience)
    assert all(worker.alive for worker in house.workers[-1:])


@pytest.mark.provokes(UNREADABLE)
async def test_a_message_that_nests_too_deep_stops_no_redelivery(
    house: House, producer: AsyncProducer, patience: float
) -> None:
    house.behave(TECHNICAL, latency=3)
    query_id = (await producer.submit(asked())).query_id
    await asyncio.to_thread(wait_for, lambda: state(house, query_id) == "running")
    house.client.hset("flywheel:unacked", "deep", "[" * 100_000)
    house.client.zadd("flywheel:unacked_index", {"deep": 1})
    for worker in house.workers:
        worker.kill()
    await asyncio.to_thread(house.worker)

    assert answered(house, [query_id], patience + 12)


# 4: what a server may refuse with


@contextmanager
def read_only(house: House) -> Iterator[None]:
    house.client.replicaof("127.0.0.1", 1)
    try:
        yield
    finally:
        house.client.replicaof("NO", "ONE")


@contextmanager
def without_its_master(house: House) -> Iterator[None]:
    house.client.config_set("replica-serve-stale-data", "no")
    with read_only(house):
        yield
    house.client.config_set("replica-serve-stale-data", "yes")


@contextmanager
def without_replicas(house: House) -> Iterator[None]:
    house.client.config_set("min-replicas-to-write", 1)
    try:
        yield
    finally:
        house.client.config_set("min-replicas-to-write", 0)


@contextmanager
def disk_in_the_way(house: House) -> Iterator[None]:
    """A snapshot that cannot be written: what a full disk leads to."""
    hindrance = house.folder / "broker" / "dump.rdb"
    hindrance.mkdir()
    house.client.config_set("save", "3600 1")
    house.client.bgsave()
    wait_for(lambda: house.client.info("persistence")["rdb_last_bgsave_status"] == "err", what="the snapshot fails")
    try:
        yield
    finally:
        hindrance.rmdir()
        house.client.config_set("save", "")
        house.client.config_set("stop-writes-on-bgsave-error", "no")


@contextmanager
def busy(house: House) -> Iterator[None]:
    house.client.config_set("busy-reply-threshold", 50)
    script = "local t = redis.call('TIME')[1] + 3 while redis.call('TIME')[1] + 0 < t do end return 1"
    running = subprocess.Popen(
        [sys.executable, "-c", "import redis, sys; redis.Redis(port=int(sys.argv[1])).eval(sys.argv[2], 0)",
         str(house.broker.port), script]
    )  # fmt: skip
    try:
        yield
    finally:
        running.wait(20)
        house.client.config_set("busy-reply-threshold", 5000)


@contextmanager
def without_rights(house: House) -> Iterator[None]:
    """The broker's user may not use the channels any more."""
    house.client.acl_setuser("default", enabled=True, nopass=True, reset_channels=True)
    try:
        yield
    finally:
        house.client.acl_setuser("default", enabled=True, nopass=True, channels=["*"])


@contextmanager
def without_memory(house: House) -> Iterator[None]:
    house.client.config_set("maxmemory", 1)
    try:
        yield
    finally:
        house.client.config_set("maxmemory", 0)


REFUSALS = [
    read_only,
    without_its_master,
    without_replicas,
    disk_in_the_way,
    busy,
    without_memory,
    without_rights,
]


@pytest.mark.provokes(BROKER_AWAY)
@pytest.mark.parametrize("refusal", REFUSALS)
async def test_a_server_that_refuses_for_a_while_loses_nothing(
    house: House, producer: AsyncProducer, patience: float, refusal: Callable[[House], Any]
) -> None:
    house.behave(latency=0.3)
    ids = [each.query_id for each in await producer.submit_many([asked() for _ in range(30)], cache="bypass")]  # type: ignore[union-attr]

    def refuse() -> None:
        with refusal(house):
            time.sleep(3)

    await asyncio.sleep(0.1)
    await asyncio.to_thread(refuse)

    assert answered(house, ids, patience + 10)


@pytest.mark.provokes(BROKER_AWAY, "No permissions|NOPERM")
async def test_without_rights_to_the_channels_a_query_ends_whole(
    house: House, producer: AsyncProducer, patience: float
) -> None:
    session, task_id = uuid.uuid4().hex, uuid.uuid4().hex
    house.behave(latency=0.3)
    first, second = [(await producer.submit(asked(), session_id=session)).query_id for _ in range(2)]
    with plain_client(house) as client:
        then = client.signature("somebody.collect", queue=f"collected-{task_id}")
        client.send_task("flywheel.classify", [asked()], queue="classify", task_id=task_id, link=then)
    with without_rights(house):
        await asyncio.to_thread(answered, house, [first, second, task_id], patience)
        await asyncio.to_thread(
            wait_for, lambda: house.client.llen(f"collected-{task_id}") == 1, within=patience, what="it goes on"
        )

    assert len(await producer.history(session)) == 2
    assert all(house.client.ttl(wire.record_key(each)) > 0 for each in (first, second, task_id))


# 5: scripts without a bound


@pytest.fixture
def emptied(house: House) -> Iterator[None]:
    """Leave nothing that the audits of later tests would read: nine thousand records take two seconds each time."""
    yield
    house.client.flushdb()


@pytest.mark.usefixtures("emptied")
async def test_nine_thousand_identical_questions_are_all_answered(
    house: House, producer: AsyncProducer, patience: float
) -> None:
    question = asked()
    await pause(producer.batch, flow="technical-analysis")
    ids = [each.query_id for each in await producer.submit_many([question] * 9000)]  # type: ignore[union-attr]
    await resume(producer.batch, flow="technical-analysis")

    assert answered(house, ids, patience + 30)


# 6: a file that lost its end


@pytest.mark.provokes(BROKER_AWAY)
async def test_what_a_rolled_back_file_still_holds_is_answered(
    house: House, producer: AsyncProducer, patience: float
) -> None:
    """The broker's file ends a second before its death, as after a power loss with `everysec`."""
    house.behave(latency=0.5)
    folder = house.folder / "broker" / "appendonlydir"
    ids = [each.query_id for each in await producer.submit_many([asked() for _ in range(40)])]  # type: ignore[union-attr]
    await asyncio.sleep(0.2)
    house.client.waitaof(1, 0, 2000)
    kept = house.folder / f"kept-{uuid.uuid4().hex[:6]}"
    shutil.copytree(folder, kept)
    ids += [each.query_id for each in await producer.submit_many([asked() for _ in range(10)])]  # type: ignore[union-attr]
    await asyncio.sleep(0.6)
    house.broker.kill()
    shutil.rmtree(folder)
    shutil.copytree(kept, folder)
    await asyncio.to_thread(house.broker.start)
    known = [query_id for query_id in ids if state(house, query_id) != "unknown"]

    assert len(known) >= 40
    assert answered(house, known, patience + 12)


# 8: plain Celery clients


@pytest.mark.parametrize("priority", [0, 3, 6, 9])
def test_a_plain_client_may_give_any_priority(house: House, patience: float, priority: int) -> None:
    task_id = uuid.uuid4().hex
    with plain_client(house) as client:
        client.send_task("flywheel.classify", [asked()], queue="classify", task_id=task_id, priority=priority)

        assert has_result(house, task_id, patience)


@pytest.mark.parametrize("how", ["link", "chain"])
def test_what_follows_gets_the_real_answer(house: House, patience: float, how: str) -> None:
    collected = f"collected-{uuid.uuid4().hex[:6]}"
    with plain_client(house) as client:
        first = client.signature("flywheel.classify", [asked()], queue="classify")
        then = client.signature("somebody.collect", queue=collected)
        (first | then).apply_async() if how == "chain" else first.apply_async(link=then)
        wait_for(lambda: house.client.llen(collected), within=patience, what="what follows is sent")
    message: Any = house.client.lindex(collected, 0)
    body = json.loads(base64.b64decode(json.loads(message)["body"]))

    assert body[0][0]["text"]


# 9: a process that forks


FORKED = """
import os, sys
from producer import Producer
with Producer() as producer:
    producer.ask("How do I connect python to database before?", wait=30)
    child = os.fork()
    if child == 0:
        print(producer.ask("How do I connect python to database after?", wait=10).text, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_a_producer_answers_after_a_fork(house: House) -> None:
    settings = house.settings
    env = {
        **os.environ,
        "REDIS_URL": settings.redis_url,
        "FLYWHEEL_REGISTRY": str(house.registry),
        "FLYWHEEL_HOME": str(settings.home),
        "PYTHONPATH": os.pathsep.join(map(str, IMPORT_PATH)),
    }
    running = subprocess.Popen(
        [sys.executable, "-c", FORKED], env=env, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        said, _ = running.communicate(timeout=25)
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)

    assert said.strip()


# 11: workers that know more or less than others


NOVEL = """
  novel:
    id: 00000000-0000-4000-8000-0000000000ff
    domain: technical
"""


async def test_a_flow_that_this_worker_does_not_know_yet_waits_for_one_that_does(
    house: House, patience: float, tmp_path: Path
) -> None:
    newer = tmp_path / "flow-registry.yaml"
    newer.write_text(REGISTRY + NOVEL)
    async with AsyncProducer(house.settings.model_copy(update={"registry": newer})) as producer:
        query_id = (await producer.submit(asked(), flow="novel")).query_id
        await asyncio.sleep(2)
        knowing = await asyncio.to_thread(house.worker, FLYWHEEL_REGISTRY=str(newer))

    assert ended(house, [query_id], patience)[query_id] in TERMINAL
    knowing.terminate(within=30)
    # The sandbox has no such flow: what matters is that a worker that knows it has called it.
    assert "UnknownFlow" not in (house.client.hget(f"flywheel:query:{query_id}", "error") or "")


async def test_a_domain_that_appears_is_served(house: House, producer: AsyncProducer, patience: float) -> None:
    house.change_registry(REGISTRY + "  novel:\n    id: 896f7eed-342e-4596-9429-6fb9b5fbd91b\n    domain: appeared\n")
    try:
        await asyncio.sleep(3)  # until worker and producer have read it
        async with AsyncProducer(house.settings) as knowing:
            query_id = (await knowing.submit(asked(), flow="novel")).query_id

        assert answered(house, [query_id], patience)
    finally:
        house.change_registry(REGISTRY)


@pytest.mark.timeout(240)
async def test_what_is_parked_for_a_removed_flow_ends(house: House, producer: AsyncProducer, patience: float) -> None:
    house.behave(latency=4)
    house.client.sadd("flywheel:paused", "flow:narrow")
    query_id = (await producer.submit(asked(), flow="narrow")).query_id
    await asyncio.to_thread(wait_for, lambda: house.client.exists("flywheel:parked:narrow"), what="it is parked")
    without = REGISTRY[: REGISTRY.index("  narrow:")] + REGISTRY[REGISTRY.index("  prose:") :]
    house.change_registry(without.replace("    fallback: narrow\n", ""))
    try:
        await asyncio.sleep(3)
        house.client.delete("flywheel:paused")

        # A worker that another test has started waits for 60 s for somebody who knows the flow.
        assert all_ended(house, [query_id], patience + 60)
    finally:
        house.change_registry(REGISTRY)


# 12: what is too much


def _nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


TOO_MUCH: dict[str, dict[str, Any]] = {
    "an endless time": {"timeout": float("inf")},
    "a time that is no number": {"timeout": float("nan")},
    "a config 250 deep": {"config": _nested(250)},
    "a config of 3.9 MB": {"config": {"x": "y" * 3_900_000}},
}


@pytest.mark.parametrize("what", TOO_MUCH)
async def test_what_is_too_much_is_refused_by_name(house: House, producer: AsyncProducer, what: str) -> None:
    with pytest.raises(InvalidQuery):
        await producer.submit(asked(), **TOO_MUCH[what])


@pytest.mark.parametrize("what", ["a config 250 deep", "a config of 3.9 MB"])
def test_a_plain_client_that_sends_too_much_hears_of_it(house: House, patience: float, what: str) -> None:
    task_id = uuid.uuid4().hex
    with plain_client(house) as client:
        query = {"question": asked(), **TOO_MUCH[what]}
        client.send_task("flywheel.classify", [query], queue="classify", task_id=task_id)
        assert has_result(house, task_id, patience)

    assert state(house, task_id) == "failed"
