"""Who waits for a list gets the message with the first reply, under its lease, and nothing is lost when it stops."""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Callable, Iterator
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from agentic_flywheel.broker import transport_scripts, wire
from agentic_flywheel.broker.transport_scripts import FetchTaken
from workers.engine.intake import Intake
from workers.engine.ledger import Ledger
from workers.engine.link import BrokerLink
from workers.engine.waiter import TAKEN, Waiter

QUEUE = "a queue"


class Hub:
    """As much of a hub as an intake needs: it reads when it is told to."""

    def __init__(self) -> None:
        self.readers: dict[int, Callable[[], None]] = {}
        self.later: list[Callable[[], None]] = []
        self.timer, self._ready = SimpleNamespace(_queue=[]), [1]
        self._waker = SimpleNamespace(wake=lambda: None)

    def add_reader(self, fd: int, read: Callable[[], None]) -> None:
        self.readers[fd] = read

    def remove(self, fd: int) -> None:
        self.readers.pop(fd, None)

    def call_later(self, _: float, call: Callable[[], None]) -> None:
        self.later.append(call)

    def turn(self) -> None:
        """Wait for what comes, and read it."""
        ready, _, _ = select.select(list(self.readers), [], [], 5)
        assert ready
        for fd in ready:
            self.readers[fd]()


class Heard(list[tuple[str, FetchTaken | None]]):
    """What a waiter tells."""

    def note(self, queue: str, taken: FetchTaken | None) -> None:
        self.append((queue, taken))


@pytest.fixture
def server(broker_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(broker_url) as client:
        client.flushdb()
        yield client
        client.flushdb()


@pytest.fixture
def pool(broker_url: str, server: redis.Redis) -> Iterator[redis.ConnectionPool]:
    pool = redis.ConnectionPool.from_url(broker_url, socket_timeout=5)
    # A worker looks into all of its queues before it waits, so the server knows the script.
    call = transport_scripts.fetch(limit=1, share=1, list_first=True, bands=[1], queues=[QUEUE])
    BrokerLink(pool, 15).run(call)
    yield pool
    pool.disconnect()


def message(name: str) -> str:
    return json.dumps({"body": "", "headers": {}, "properties": {"delivery_tag": name, "delivery_info": {}}})


def waiter(pool: redis.ConnectionPool, hub: Hub, heard: Heard) -> Waiter:
    return Waiter(pool, pool.get_connection(), "", hub, QUEUE, heard.note)


def test_a_message_comes_with_the_first_reply_and_is_recorded(server: redis.Redis, pool: redis.ConnectionPool) -> None:
    hub, heard = Hub(), Heard()
    waiter(pool, hub, heard).ask(0, take=True)
    server.lpush(QUEUE, message("one"))
    hub.turn()

    ((queue, taken),) = heard
    assert taken is not None
    assert (queue, taken.queues, taken.tags) == (QUEUE, (QUEUE,), ("one",))
    assert (server.llen(QUEUE), server.hkeys(wire.UNACKED)) == (0, [b"one"])


def test_of_many_a_few_are_taken(server: redis.Redis, pool: redis.ConnectionPool) -> None:
    hub, heard = Hub(), Heard()
    server.lpush(QUEUE, *[message(str(number)) for number in range(5)])
    waiter(pool, hub, heard).ask(0, take=True)
    hub.turn()

    assert heard[0][1] is not None
    assert heard[0][1].tags == ("0", "1")
    assert server.llen(QUEUE) == 5 - TAKEN


def test_who_only_waits_takes_nothing(server: redis.Redis, pool: redis.ConnectionPool) -> None:
    hub, heard = Hub(), Heard()
    waiter(pool, hub, heard).ask(0, take=False)
    server.lpush(QUEUE, message("one"))
    hub.turn()

    assert heard == [(QUEUE, None)]
    assert server.llen(QUEUE) == 1


class Wrapped(socket.socket):
    """Stands for TLS, of which one side cannot be ended alone."""

    __slots__ = ()


def test_a_connection_that_cannot_be_ended_on_one_side_only_waits(
    server: redis.Redis, pool: redis.ConnectionPool
) -> None:
    hub, heard = Hub(), Heard()
    connection: Any = pool.get_connection()
    connection._sock.__class__ = Wrapped
    Waiter(pool, connection, "", hub, QUEUE, heard.note).ask(0, take=True)
    server.lpush(QUEUE, message("one"))
    hub.turn()

    assert heard == [(QUEUE, None)]
    assert server.llen(QUEUE) == 1


def test_where_another_worker_was_first_it_waits_again(server: redis.Redis, pool: redis.ConnectionPool) -> None:
    hub, heard = Hub(), Heard()
    first, second = waiter(pool, hub, heard), waiter(pool, hub, heard)
    first.ask(0, take=True)
    second.ask(0, take=True)
    server.lpush(QUEUE, message("one"))
    while first.asked is not None or second.asked is not None:
        hub.turn()

    assert [taken and taken.tags for _, taken in heard] in ([("one",), ()], [(), ("one",)])


def test_where_the_server_has_forgotten_the_script_somebody_looks(
    server: redis.Redis, pool: redis.ConnectionPool
) -> None:
    hub, heard = Hub(), Heard()
    waiter(pool, hub, heard).ask(0, take=True)
    server.script_flush()
    server.lpush(QUEUE, message("one"))
    hub.turn()

    assert heard == [(QUEUE, None)]
    assert server.llen(QUEUE) == 1


def test_where_the_server_refuses_to_wait_somebody_looks_later(server: redis.Redis, pool: redis.ConnectionPool) -> None:
    hub, heard = Hub(), Heard()
    server.hset(QUEUE, "a", "hash")
    waiting = waiter(pool, hub, heard)
    waiting.ask(0, take=False)
    hub.turn()
    assert (heard, waiting.asked) == ([], 0)

    hub.later.pop()()

    assert (heard, waiting.asked) == ([(QUEUE, None)], None)


def test_who_stopped_takes_nothing_that_comes_later(server: redis.Redis, pool: redis.ConnectionPool) -> None:
    hub, heard = Hub(), Heard()
    waiting = waiter(pool, hub, heard)
    waiting.ask(0, take=True)
    waiting.stop()
    waiting.finish(until=monotonic() + 5)
    server.lpush(QUEUE, message("one"))

    assert (heard, waiting.is_closed, hub.readers) == ([], True, {})
    assert server.llen(QUEUE) == 1


@pytest.fixture
def intake(pool: redis.ConnectionPool) -> Iterator[tuple[Intake, Hub, Ledger]]:
    hub, ledger = Hub(), Ledger()
    qos = SimpleNamespace(room=lambda _: 100, spare=lambda: 100)
    channel: Any = SimpleNamespace(qos=qos, visibility_timeout=15, global_keyprefix="", intake_pool=lambda: pool)
    intake = Intake(channel, hub, ledger, lambda *_: None)
    yield intake, hub, ledger
    intake.close()


def test_what_was_taken_before_a_worker_stopped_goes_back_as_it_was(
    server: redis.Redis, intake: tuple[Intake, Hub, Ledger]
) -> None:
    taking, _, _ = intake
    taking.consume([QUEUE])
    taking.tick()
    taking.tick()
    server.lpush(QUEUE, message("one"))
    while not server.hlen(wire.UNACKED):  # the server has taken it for a worker that does not read any more
        pass

    taking.stop()
    taking.settle()

    assert server.lrange(QUEUE, 0, -1) == [message("one").encode()]
    assert (server.hlen(wire.UNACKED), server.zcard(wire.UNACKED_INDEX)) == (0, 0)


def test_what_a_waiter_has_taken_is_delivered_and_as_many_as_it_may_take_mean_more(
    server: redis.Redis, intake: tuple[Intake, Hub, Ledger]
) -> None:
    taking, hub, _ = intake
    delivered: list[str] = []
    taking._deliver = lambda message, queue: delivered.append(message["properties"]["delivery_tag"])
    taking.consume([QUEUE])
    taking.tick()
    taking.tick()
    server.lpush(QUEUE, *[message(str(number)) for number in range(5)])
    hub.turn()
    assert delivered == ["0", "1"]

    taking.tick()

    assert delivered == ["0", "1", "2", "3", "4"]
