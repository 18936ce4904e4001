"""A broker that is far away: what each start needs is asked together. Times depend on the way, round trips do not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import kombu
import pytest
import redis
import typer
from far_broker import way_to
from processes import Valkey

from agentic_flywheel.broker.rights import check_broker
from producer.cli import query, status
from workers.engine.intake import Intake
from workers.engine.ledger import Ledger
from workers.engine.quick_channel import QuickConsumer
from workers.engine.transport import ALIAS

PREFIX = "far:"
QUEUES = [f"queue-{number}" for number in range(9)]


def test_the_look_at_a_broker_takes_three_round_trips(valkey: Valkey) -> None:
    with way_to(valkey.port) as way:
        asyncio.run(check_broker(f"redis://127.0.0.1:{way.port}/0", PREFIX))

    # Greeting; INFO and the script that looks for rights; its call.
    assert (way.connections, way.round_trips) == (1, 3)


#: Commands, and how many connections and round trips they need at most. Each begins with a greeting.
COMMANDS: dict[str, tuple[Callable[[], object], int, int]] = {
    "status": (lambda: status.status(json=True), 1, 2),
    "submit": (lambda: query.submit("far away?", json=True), 1, 3),
    # The record is looked for while the second connection subscribes; that one ends with an unsubscription.
    "wait": (lambda: query.wait("0" * 32, json=True), 2, 4),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_needs_few_round_trips(name: str, valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    call, connections, round_trips = COMMANDS[name]
    with way_to(valkey.port) as way:
        monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{way.port}/0")
        monkeypatch.setenv("FLYWHEEL_KEY_PREFIX", PREFIX)
        with suppress(typer.Exit, SystemExit):
            call()

    assert 0 < way.connections <= connections
    assert 0 < way.round_trips <= round_trips


def test_a_worker_declares_its_queues_in_one_round_trip(valkey: Valkey) -> None:
    options = {"global_keyprefix": PREFIX}
    with way_to(valkey.port) as way:
        address = f"redis://127.0.0.1:{way.port}/0"
        with kombu.Connection(address, transport=ALIAS, transport_options=options) as connection:
            channel = connection.default_channel
            QuickConsumer(channel, [kombu.Queue(name, kombu.Exchange(name), name) for name in QUEUES])
            seen = way.connections, way.round_trips
            bound = [channel.get_table(name) for name in QUEUES]

    # Greeting, kombu's sign of life, and all declarations.
    assert seen == (1, 3)
    assert bound == [[(name, "", name)] for name in QUEUES]


def test_a_worker_opens_all_connections_for_its_queues_at_once(valkey: Valkey) -> None:
    heard: list[Any] = []
    hub = SimpleNamespace(add_reader=lambda *told: heard.append(told), remove=heard.remove)
    # The server greets nobody before all have come: one after another, the first would wait for ever.
    with way_to(valkey.port, together=len(QUEUES) + 1) as way:
        pool = redis.ConnectionPool(port=way.port, socket_timeout=5)
        channel = SimpleNamespace(intake_pool=lambda: pool, visibility_timeout=6.0, global_keyprefix=PREFIX)
        intake = Intake(channel, hub, Ledger(), lambda *_: None)
        intake.consume(QUEUES)

        assert len(heard) == len(QUEUES)
        hub.remove = lambda _: None
        intake.close()
