"""An unexpected error ends neither a worker nor one of its loops and threads."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from engine.conftest import Station
from processes import wait_for

from workers.engine.handover import Handover
from workers.engine.loops import LoopThread
from workers.engine.threads import DaemonThreads


@pytest.mark.provokes("the worker met an unexpected error")
def test_a_worker_survives_an_error_in_its_hub_and_running_tasks_go_on(station: Station) -> None:
    worker = station.start(faults=True)
    running = [station.send("mark", number, 4.0) for number in range(5)]
    wait_for(lambda: len(station.marks("started")) == 5)

    for _ in range(3):
        station.redis.rpush("faults", "now")
        wait_for(lambda: not station.marks("faults"))
        assert station.send("add", 1, 2).get(timeout=30) == 3

    assert [result.get(timeout=30) for result in running] == list(range(5))
    assert len(station.marks("started")) == 5
    assert worker.alive
    assert worker.log.count("LookupError: planted in the hub's turn") >= 3
    assert "Traceback" in worker.log


@pytest.mark.provokes("Unrecoverable error: BrokerTooOld")
def test_a_worker_does_not_start_on_a_server_that_is_too_old(station: Station) -> None:
    with pytest.raises(AssertionError, match="BrokerTooOld"):
        station.start(oldest_server=99)


@pytest.mark.provokes("the worker met an unexpected error")
def test_lost_connections_leave_nothing_behind_in_the_hub(station: Station) -> None:
    worker = station.start(faults=True)
    before = station.send("ticks").get(timeout=30)

    for _ in range(3):
        station.redis.rpush("faults", "now")
        wait_for(lambda: not station.marks("faults"))
        assert station.send("add", 1, 2).get(timeout=30) == 3

    assert station.send("ticks").get(timeout=30) == before
    assert worker.alive

    # A server that has no room for connections is asked with pauses, and the log says what is wrong.
    most = station.redis.config_get("maxclients")["maxclients"]
    station.redis.config_set("maxclients", 4)
    station.redis.client_kill_filter(_type="normal", skipme=True)
    wait_for(lambda: "it has all the connections that it may have" in worker.log)
    time.sleep(0.5)
    assert worker.log.count("it has all the connections that it may have") < 4
    station.redis.config_set("maxclients", str(most))
    assert station.send("add", 1, 2).get(timeout=30) == 3
    assert "CPendingDeprecationWarning" not in worker.log


def planted() -> None:
    raise LookupError("planted")


class Hub:
    """Calls at once what kombu's hub would call soon."""

    def call_soon(self, call: Callable[[], Any]) -> None:
        call()


def test_a_call_that_fails_keeps_no_other_from_being_handed_over() -> None:
    loop = LoopThread()
    loop.start()
    try:
        handover = Handover(Hub(), loop.loop)
        on_loop, on_hub = threading.Event(), threading.Event()
        for hand_over, done in (handover.to_loop, on_loop), (handover.to_hub, on_hub):
            hand_over(planted)
            hand_over(done.set)

            assert done.wait(5)
    finally:
        loop.stop()


def test_a_thread_for_plain_tasks_survives_what_it_calls() -> None:
    threads, done = DaemonThreads(1), threading.Event()
    for call in (planted, exit, done.set):
        threads.submit(call)

    assert done.wait(5)


def test_a_loop_survives_an_error_that_asyncio_lets_out(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = LoopThread()
    run_forever, failures = loop.loop.run_forever, [LookupError("planted"), SystemExit(3)]

    class Fragile:
        """A loop that fails twice before it runs."""

        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        def run_forever(self) -> None:
            if failures:
                raise failures.pop()
            run_forever()

    inner = loop.loop
    loop.loop = Fragile()  # type: ignore[assignment]
    monkeypatch.setattr(asyncio, "set_event_loop", lambda _: None)
    loop.start()
    loop.stop()

    assert failures == []
