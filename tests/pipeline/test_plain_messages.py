"""Whatever a plain Celery client sends, and whatever becomes of its message: it hears an answer, or a reason."""

from __future__ import annotations

import asyncio
import base64
import bz2
import json
import time
import uuid
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery.exceptions import NotRegistered
from closing import UNREADABLE
from kombu import serialization
from processes import wait_for

from agentic_flywheel.broker.records import dead_letters
from agentic_flywheel.errors import DeadlineExceeded, InvalidQuery, UnreadableQuery
from agentic_flywheel.models import State
from pipeline.house import TECHNICAL, House
from pipeline.plain import PlainClient, asked
from producer import AsyncProducer

#: Most tests here send something that cannot be read.
pytestmark = pytest.mark.provokes(UNREADABLE)

Message = dict[str, Any]


@pytest.fixture
def client(house: House) -> PlainClient:
    return PlainClient(house)


def change(house: House, queue: str, damage: Callable[[Message], str | bytes]) -> None:
    """Replace the one message in a queue."""
    (raw,) = house.client.lrange(queue, 0, -1)
    house.client.lset(queue, 0, damage(json.loads(raw)))  # type: ignore[arg-type]


# Arguments


@pytest.mark.parametrize(
    "task_id", ["a b", 'q"x', "a\\b", "a|b", "a\nb", "a" * 10_000, "\u00e4", "-", "{}", "../x", "a" * 129]
)
def test_an_id_that_makes_no_name_is_refused_by_its_own_result(client: PlainClient, task_id: str) -> None:
    result = client.send(asked(), task_id=task_id)

    with pytest.raises(InvalidQuery) as caught:
        result.get(timeout=20)
    assert caught.value.field_name == "task_id"
    assert client.record(task_id) == {}


def test_an_id_that_is_no_text_is_set_aside(client: PlainClient, house: House) -> None:
    before = house.client.llen("flywheel:unreadable")
    with house.standing_still():
        client.send(asked())
        change(house, "classify", lambda sent: json.dumps({**sent, "headers": {**sent["headers"], "id": "\ud83d"}}))

    wait_for(lambda: house.client.llen("flywheel:unreadable") == int(str(before)) + 1, within=20)
    assert client.send(asked()).get(timeout=20)["text"]


@pytest.mark.parametrize("name", ["question", "query"])
def test_arguments_may_have_names(client: PlainClient, name: str) -> None:
    given = {"question": asked()}

    assert client.send(kwargs=given if name == "question" else {"query": given}).get(timeout=20)["text"]


@pytest.mark.parametrize(
    "arguments", [[], ["a", "b"], [None], [["a"]], [b"abc"], [5], [True], [{}], [""], [{"question": None}]]
)
def test_arguments_that_are_no_query_are_refused(client: PlainClient, arguments: list[Any]) -> None:
    result = client.send(*arguments)

    with pytest.raises(InvalidQuery):
        result.get(timeout=20)
    assert client.record(result.id)["state"] == State.FAILED


@pytest.mark.parametrize("depth", [40, 1000, 100_000])
def test_arguments_that_nest_too_deep_are_refused(client: PlainClient, house: House, depth: int) -> None:
    deep = "[" * depth + "]" * depth
    body = f'[[{{"question": "x", "config": {{"a": {deep}}}}}], {{}}, {{}}]'.encode()
    with house.standing_still():
        result = client.send(asked())
        change(house, "classify", lambda sent: json.dumps({**sent, "body": base64.b64encode(body).decode()}))

    with pytest.raises((InvalidQuery, UnreadableQuery)):
        result.get(timeout=20)


@pytest.mark.parametrize("field", ["metadata", "config", "context"])
def test_half_a_character_is_refused_by_name(client: PlainClient, field: str) -> None:
    half: Any = "\ud83d" if field == "context" else {"a": "\ud83d"}

    with pytest.raises(InvalidQuery) as caught:
        client.send({"question": asked(), field: half}).get(timeout=20)
    assert caught.value.field_name == field


LOOKS_LIKE = [
    {"__type__": "datetime", "__value__": "no"},
    {"__type__": "datetime", "__value__": "2026-01-01T00:00:00"},
    {"__type__": "uuid", "__value__": {"hex": uuid.uuid4().hex}},
    {"__type__": "bytes", "__value__": "AAAA"},
]


@pytest.mark.parametrize("value", LOOKS_LIKE)
async def test_data_that_looks_like_a_typed_value_stays_data(
    client: PlainClient, producer: AsyncProducer, value: dict[str, Any]
) -> None:
    config: dict[str, Any] = {"x": value}
    result = client.send({"question": asked(), "config": config})
    ours = await producer.submit(asked(), config=config)

    assert (await asyncio.to_thread(result.get, timeout=20))["text"]
    assert (await producer.wait(ours.query_id, timeout=20)).text
    assert json.loads(client.record(result.id)["query"])["config"] == config
    assert (await producer.status(ours.query_id)).query.config == config


# Options


def test_a_priority_leads_to_a_band(client: PlainClient) -> None:
    found: dict[int, str] = {}
    for priority in range(10):
        result = client.send(asked(), priority=priority)
        assert result.get(timeout=20)["text"]
        found[priority] = client.record(result.id)["priority"]

    assert found == {number: "normal" if number < 3 else "low" for number in range(10)}


def test_a_query_that_names_its_own_priority_has_it(client: PlainClient) -> None:
    result = client.send({"question": asked(), "priority": "high"}, priority=9)

    assert result.get(timeout=20)["text"]
    assert client.record(result.id)["priority"] == "high"


def test_a_client_with_steps_of_its_own_is_heard(client: PlainClient) -> None:
    client.app.conf.broker_transport_options = {"priority_steps": list(range(10))}

    for priority in (1, 5, 8):
        assert client.send(asked(), priority=priority).get(timeout=20)["text"]


def test_a_query_that_is_put_off_waits_in_the_broker_and_not_in_a_worker(client: PlainClient, house: House) -> None:
    due = datetime.now(UTC) + timedelta(seconds=3)
    result = client.send(asked(), eta=due)
    wait_for(lambda: client.record(result.id), within=20)

    wait_for(lambda: house.client.hlen("flywheel:unacked") == 0, within=20)
    assert house.client.zcard("flywheel:delayed:classify") == 1
    assert result.get(timeout=20)["text"]
    assert float(client.record(result.id)["started"]) >= due.timestamp() * 1000


def test_a_put_off_query_outlives_its_worker(client: PlainClient, house: House) -> None:
    result = client.send(asked(), countdown=4)
    wait_for(lambda: client.record(result.id), within=20)
    for worker in house.workers:
        worker.kill()

    house.worker()

    assert result.get(timeout=30)["text"]


@pytest.mark.parametrize("query", [{"question": "x"}, {"question": "x", "session_id": "s-1"}])
def test_a_time_that_cannot_be_kept_is_refused(client: PlainClient, query: dict[str, Any]) -> None:
    countdown = 10 if "session_id" in query else 3 * 86_400

    with pytest.raises(InvalidQuery) as caught:
        client.send(query, countdown=countdown).get(timeout=20)
    assert caught.value.field_name == "eta"


def test_a_message_that_has_expired_is_not_answered(client: PlainClient, house: House) -> None:
    question = asked()
    with house.standing_still():
        result = client.send(question, expires=0.2)
        time.sleep(0.3)

    with pytest.raises(DeadlineExceeded):
        result.get(timeout=20)
    assert house.calls(question) == 0


def test_a_query_expires_while_its_flow_runs(client: PlainClient, house: House) -> None:
    house.behave(TECHNICAL, latency=20)
    result = client.send(asked(), expires=1)

    with pytest.raises(DeadlineExceeded):
        result.get(timeout=20)


def test_a_time_limit_of_the_message_loses_nothing(client: PlainClient, house: House) -> None:
    house.behave(TECHNICAL, latency=0.5)

    assert client.send(asked(), time_limit=0.001, soft_time_limit=0.0005).get(timeout=20)["text"]


@pytest.mark.parametrize("method", ["zlib", "bzip2", "lzma"])
def test_a_compressed_query_is_read(client: PlainClient, method: str) -> None:
    assert client.send(asked(), compression=method).get(timeout=20)["text"]


@pytest.mark.parametrize("pack", [zlib.compress, bz2.compress, lambda _: b"no"], ids=["zlib", "bzip2", "no end"])
def test_a_small_message_does_not_grow_to_a_large_one(
    client: PlainClient, house: House, pack: Callable[[bytes], bytes]
) -> None:
    bomb = pack(b" " * 50_000_000)
    method = "bzip2" if bomb.startswith(b"BZ") else "zlib"
    with house.standing_still():
        result = client.send(asked(), compression=method)
        change(house, "classify", lambda sent: json.dumps({**sent, "body": base64.b64encode(bomb).decode()}))

    with pytest.raises(UnreadableQuery):
        result.get(timeout=20)


def _yaml(value: object) -> str:
    return f"- [{json.dumps('x')}]\n- {{}}\n- {{}}\n"


def test_a_query_in_another_form_than_json_is_refused_and_never_evaluated(client: PlainClient) -> None:
    serialization.register("their-yaml", _yaml, json.loads, "application/x-yaml", "utf-8")
    for form in ("pickle", "their-yaml"):
        result = client.send(asked(), serializer=form)

        with pytest.raises(UnreadableQuery, match="not written as JSON"):
            result.get(timeout=20)
        assert client.record(result.id)["state"] == State.FAILED


def test_a_query_sent_to_the_queue_of_a_domain_is_answered(client: PlainClient) -> None:
    assert client.send(asked(), queue="domain.technical").get(timeout=20)["text"]


def test_a_task_that_nobody_has_fails_and_is_no_query(client: PlainClient) -> None:
    result = client.app.send_task("flywheel.nothing", ["x"], queue="classify")

    with pytest.raises(NotRegistered):
        result.get(timeout=20)
    assert client.record(result.id) == {}


def test_headers_of_the_user_and_an_ignored_result_change_nothing(client: PlainClient) -> None:
    result = client.send(asked(), headers={"from": "me", "x": {"a": 1}}, ignore_result=True)

    wait_for(lambda: client.record(result.id).get("state") == State.SUCCEEDED, within=20)


def test_a_client_whose_message_wants_a_result_gets_the_answer(client: PlainClient) -> None:
    result = client.send(asked(), ignore_result=False)  # as each message of Celery 5.4 says

    assert result.get(timeout=20)["text"]


# Messages that nobody can read


def _cut_body(sent: Message) -> str:
    return json.dumps({**sent, "body": sent["body"][:-7]})


def _no_base64(sent: Message) -> str:
    return json.dumps({**sent, "body": "!"})


def _broken_json(sent: Message) -> str:
    body = base64.b64encode(base64.b64decode(sent["body"])[:-9]).decode()
    return json.dumps({**sent, "body": body})


def _other_coding(sent: Message) -> str:
    return json.dumps({**sent, "content-type": "application/x-unknown"})


def _no_delivery_info(sent: Message) -> str:
    properties = {name: value for name, value in sent["properties"].items() if name != "delivery_info"}
    return json.dumps({**sent, "properties": properties})


DAMAGES = [_cut_body, _no_base64, _broken_json, _other_coding, _no_delivery_info]


@pytest.mark.parametrize("damage", DAMAGES)
async def test_an_accepted_query_whose_message_is_damaged_is_answered(
    producer: AsyncProducer, house: House, damage: Callable[[Message], str]
) -> None:
    with house.standing_still():
        query_id = (await producer.submit(asked())).query_id
        change(house, "classify", damage)

    assert (await producer.wait(query_id, timeout=20)).text


async def test_an_accepted_query_whose_message_names_nobody_is_answered(producer: AsyncProducer, house: House) -> None:
    """Its worker cannot tell whose it is; the reconciliation finds after some time that nothing moves the query."""
    with house.standing_still():
        query_id = (await producer.submit(asked())).query_id
        change(house, "classify", lambda sent: json.dumps(sent)[:300])

    assert (await producer.wait(query_id, timeout=60)).text


async def test_a_damaged_message_of_one_part_costs_no_part(producer: AsyncProducer, house: House) -> None:
    house.client.sadd("flywheel:paused", "domain:technical")
    question = "How do I connect python to a database? And which clause of the contract covers liability?"
    query_id = (await producer.submit(f"{question} {uuid.uuid4().hex}")).query_id
    await asyncio.to_thread(wait_for, lambda: house.client.hget(f"flywheel:query:{query_id}", "parts"), within=20)
    await asyncio.to_thread(wait_for, lambda: house.client.zcard("flywheel:parked:technical-analysis"), within=20)
    with house.standing_still():
        popped: Any = house.client.zpopmin("flywheel:parked:technical-analysis")
        waiting: str = popped[0][0]
        name, tag, queue, message = waiting.split("\n", 3)
        part = name.partition("|")[2]
        house.client.hset(f"flywheel:query:{query_id}", f"at|{part}", f"q\n{queue}\n0.{tag}")
        house.client.srem("flywheel:paused", "domain:technical")
        house.client.rpush(queue, _no_base64(json.loads(message)))

    answer = await producer.wait(query_id, timeout=20)
    assert set(answer.domains) == {"technical", "documents"}


async def test_a_query_whose_messages_are_damaged_every_time_ends(producer: AsyncProducer, house: House) -> None:
    with house.standing_still():
        query_id = (await producer.submit(asked())).query_id
        record = f"flywheel:query:{query_id}"
        house.client.hset(record, "rebuilt|", 2)
        change(house, "classify", _no_base64)

    with pytest.raises(UnreadableQuery):
        await producer.wait(query_id, timeout=20)
    assert query_id in {letter.query_id for letter in await dead_letters(producer.batch)}


async def test_a_stray_damaged_message_does_not_touch_a_query_that_is_well(
    producer: AsyncProducer, house: House
) -> None:
    house.behave(TECHNICAL, latency=1.5)
    question = asked()
    with house.standing_still():
        query_id = (await producer.submit(question)).query_id
        (raw,) = house.client.lrange("classify", 0, -1)
        stray = json.loads(raw)
        stray["properties"]["delivery_tag"] = uuid.uuid4().hex
        house.client.lpush("classify", *[_no_base64(stray)] * 5)

    assert (await producer.wait(query_id, timeout=20)).text
    assert house.calls(question) == 1
    assert "rebuilt|" not in house.client.hgetall(f"flywheel:query:{query_id}")


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_plain_clients_query_whose_message_is_damaged_fails(
    client: PlainClient, producer: AsyncProducer, house: House, damage: Callable[[Message], str]
) -> None:
    with house.standing_still():
        result = client.send(asked())
        change(house, "classify", damage)

    with pytest.raises(UnreadableQuery):
        await asyncio.to_thread(result.get, timeout=20)
    assert (await producer.status(result.id)).state == State.FAILED
    assert result.id in {letter.query_id for letter in await dead_letters(producer.batch)}
