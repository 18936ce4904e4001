"""A message that cannot be read or delivered harms no worker and no other message, and is not lost."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from typing import Any

import closing
import pytest
import redis
from engine.conftest import APP, Station
from processes import Valkey, Worker, wait_for

from agentic_flywheel.broker import transport_scripts
from workers.engine.link import BrokerLink

pytestmark = pytest.mark.provokes(closing.UNREADABLE)

UNREADABLE = "flywheel:unreadable"
#: Stands in every message below, and must not be in the log.
SECRET = "my-password"
GONE: Any = object()
CELERYS_BODY = [[1, 2], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]


def encoded(body: object) -> str:
    return base64.b64encode(body if isinstance(body, bytes) else json.dumps(body).encode()).decode()


def message(
    task: Any = f"{APP}.add",
    *,
    headers: dict[str, Any] | None = None,
    properties: dict[str, Any] | None = None,
    body: object = CELERYS_BODY,
    whole: dict[str, Any] | None = None,
) -> str:
    """Return a task message as Celery's clients send it, with some fields changed, or left out where they are GONE."""
    about = {"task": task, "id": uuid.uuid4().hex, "lang": "py", "argsrepr": SECRET, "kwargsrepr": "{}", "eta": None}
    delivery = {"exchange": "", "routing_key": "celery"}
    kombus = {"delivery_tag": uuid.uuid4().hex, "delivery_info": delivery, "body_encoding": "base64"}
    sent = {
        "body": encoded(body),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {**about, **(headers or {})},
        "properties": {**kombus, **(properties or {})},
        **(whole or {}),
    }
    return json.dumps(without_gone(sent))


def without_gone(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_gone(each) for name, each in value.items() if each is not GONE}
    return value


#: Nobody can tell whose these are.
NAMELESS: dict[str, str | bytes] = {
    "text": SECRET,
    "bytes": b'{"headers": "\xff\xfe ' + SECRET.encode() + b'"}',
    "number": "5",
    "list": json.dumps([SECRET]),
    "deep": "[" * 100_000,
    "deep and closed": "[" * 100_000 + "]" * 100_000,
    "no headers": message(whole={"headers": GONE}),
    "headers are a list": message(whole={"headers": [SECRET]}),
    "no id": message(headers={"id": GONE}),
    "id is an object": message(headers={"id": {}}),
    "id is a number": message(headers={"id": 5}),
    "protocol 1 without a task": message(task=GONE, body={"args": [SECRET]}),
}
#: The headers of these say whose they are.
NAMED: dict[str, str | bytes] = {
    "no properties": message(whole={"properties": GONE}),
    "no delivery_info": message(properties={"delivery_info": GONE}),
    "properties are a list": message(whole={"properties": [SECRET]}),
    "task is an object": message(task={SECRET: 1}),
    "task is empty": message(task=""),
    "unknown task": message(task="nobody.knows"),
    "invalid base64": message(whole={"body": "a" + SECRET}),
    "body is an object": message(whole={"body": {SECRET: 1}}),
    "body is no JSON": message(body=SECRET.encode()),
    "body is deep": message(body=b"[" * 100_000),
    "body is a number": message(body=5),
    "body is a short list": message(body=[[1, 2]]),
    "body is an object of three": message(body={"a": 1, "b": 2, "c": SECRET}),
    "arguments are no list": message(body=["ab", {}, {}]),
    "keyword arguments are no object": message(body=[[1, 2], [], {}]),
    "callbacks are a text": message(body=[[1, 2], {}, SECRET]),
    "body of another type": message(whole={"content-type": "application/x-python-serialize"}),
    "body of an unknown encoding": message(properties={"body_encoding": SECRET}),
    "body is not compressed": message(headers={"compression": "application/x-gzip"}),
    "time limit is a text": message(headers={"timelimit": SECRET}),
    "time limit of objects": message(headers={"timelimit": [{}, {}]}),
    "expires is a number": message(headers={"expires": 5}),
    "expires is no time": message(headers={"expires": SECRET}),
    "eta is no time": message(headers={"eta": SECRET}),
    "retries is a text": message(headers={"retries": SECRET}),
    "plain function, callbacks are a text": message(task=f"{APP}.plain_add", body=[[1, 2], {}, SECRET]),
    "plain function, short list": message(task=f"{APP}.plain_add", body=[[1, 2]]),
}


@pytest.fixture(scope="module")
def at(valkey: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """A station with one worker that has one place for a task."""
    station = Station(valkey, tmp_path_factory.mktemp("unreadable"), database=3)
    station.start(concurrency=1)
    yield station
    station.close()


@pytest.fixture
def worker(at: Station) -> Worker:
    at.redis.delete(UNREADABLE, "unreadable")
    (worker,) = at.workers
    return worker


def kept(at: Station) -> list[bytes]:
    found: list[bytes] = redis.Redis.from_url(at.url).lrange(UNREADABLE, 0, -1)  # type: ignore[assignment]
    return found


def goes_on(at: Station) -> None:
    assert at.send("add", 1, 2).get(timeout=30) == 3
    wait_for(lambda: at.unacknowledged() == 0 and at.queued() == 0)


@pytest.mark.parametrize("name", [*NAMELESS, *NAMED])
def test_an_unreadable_message_is_kept_as_it_was_and_the_next_one_runs(at: Station, worker: Worker, name: str) -> None:
    sent = {**NAMELESS, **NAMED}[name]
    raw = sent if isinstance(sent, bytes) else sent.encode()
    said = len(worker.log)
    at.redis.lpush("celery", raw)

    goes_on(at)
    assert kept(at) == [raw]
    line = next(line for line in worker.log[said:].splitlines() if "set aside as unreadable" in line)
    assert "queue celery" in line
    assert SECRET not in worker.log[said:]


@pytest.mark.parametrize("name", NAMED)
def test_the_application_is_told_whose_message_was_unreadable(at: Station, worker: Worker, name: str) -> None:
    at.redis.lpush("celery", NAMED[name])

    wait_for(lambda: at.marks("unreadable"))
    (told,) = at.marks("unreadable")
    task_id, _, reason = told.partition(": ")
    assert task_id == json.loads(NAMED[name])["headers"]["id"]
    assert reason
    assert SECRET not in reason


@pytest.mark.parametrize("tag", [{}, [], 5, None, "", "\u00e4", "a" * 1000, GONE])
def test_a_strange_delivery_tag_hurts_nobody(at: Station, worker: Worker, tag: object) -> None:
    at.redis.delete("started", "done")
    body = [[7, 0.0], {}, {}]
    at.redis.lpush("celery", message(task=f"{APP}.mark", properties={"delivery_tag": tag}, body=body))

    wait_for(lambda: len(at.marks("done")) == 1)
    goes_on(at)
    assert kept(at) == []
    assert len(at.marks("started")) == 1
    assert at.redis.zcard("flywheel:unacked_index") == 0


@pytest.mark.provokes("could not be started", "Task handler raised error")
def test_a_task_that_cannot_start_fails_and_frees_its_place(at: Station, worker: Worker) -> None:
    for _ in range(2):
        sent = message(headers={"shadow": {"a": "name must be hashable"}})
        at.redis.lpush("celery", sent)
        wait_for(lambda: at.client.AsyncResult(json.loads(sent)["headers"]["id"]).state == "FAILURE")  # noqa: B023

    goes_on(at)
    assert kept(at) == []


@pytest.mark.provokes("exhaust_memory")
def test_a_task_whose_end_cannot_be_recorded_does_not_come_again(at: Station, worker: Worker) -> None:
    sent = at.send("exhaust_memory")

    wait_for(lambda: at.marks("unreadable"))
    goes_on(at)
    assert at.marks("unreadable")[0].startswith(f"{sent.id}: ")
    assert [json.loads(each)["headers"]["id"] for each in kept(at)] == [sent.id]


def test_a_value_that_only_looks_like_one_of_kombus_types_stays_data(at: Station, worker: Worker) -> None:
    looks_like = {"__type__": "datetime", "__value__": "no"}

    assert at.send("show", looks_like).get(timeout=30) == repr(looks_like)


@pytest.mark.provokes("the application could not be told")
def test_a_hook_that_fails_harms_nobody(station: Station) -> None:
    worker = station.start(hook_fails=True)
    station.redis.lpush("celery", message(headers={"timelimit": SECRET}), message(headers={"timelimit": SECRET}))

    goes_on(station)
    assert len(kept(station)) == 2
    assert "could not be told" in worker.log


def test_messages_of_a_lost_worker_go_back_beside_those_that_cannot_be_read(station: Station) -> None:
    deep, bare = "[" * 100_000, message(whole={"headers": GONE})
    for raw in (deep, bare, message(body=[[1, 2], {}, {}], headers={"id": "the-good-one"}), SECRET):
        station.redis.lpush("celery", raw)
    link = BrokerLink(redis.ConnectionPool.from_url(station.url), visibility_timeout=2.0)
    link.run(transport_scripts.fetch(limit=10, share=10, list_first=True, bands=[1], queues=["celery"]))
    link.close()
    assert station.unacknowledged() == 4  # as a worker leaves them that is killed

    station.start(visibility=2.0)

    assert station.client.AsyncResult("the-good-one").get(timeout=30) == 3
    wait_for(lambda: station.unacknowledged() == 0)
    assert sorted(kept(station)) == sorted(each.encode() for each in (deep, bare, SECRET))
