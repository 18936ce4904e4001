"""A worker that is told to stop finishes what it may and hands back the rest, at once."""

from __future__ import annotations

import signal
import time
from typing import Any

from engine.conftest import Station
from processes import wait_for


def begin(station: Station, count: int, seconds: float, *, already: int = 0, task: str = "mark") -> list[Any]:
    results = [station.send(task, number, seconds) for number in range(count)]
    wait_for(lambda: len(station.marks("started")) == already + count)
    return results


def nothing_is_under_way(station: Station) -> bool:
    return station.unacknowledged() == 0 and station.redis.zcard("flywheel:unacked_index") == 0


def test_a_warm_shutdown_lets_tasks_finish(station: Station) -> None:
    worker = station.start()
    results = begin(station, 30, 1.0)

    assert worker.terminate() == 0
    assert nothing_is_under_way(station)
    assert [result.get(timeout=1) for result in results] == list(range(30))
    assert station.marks("closed") == ["session"]


def test_a_worker_past_its_grace_time_hands_tasks_back_at_once(station: Station) -> None:
    worker = station.start(grace=0.5)
    begin(station, 18, 60.0)
    begin(station, 2, 60.0, already=18, task="plain_mark")
    told = time.monotonic()

    assert worker.terminate() == 0
    assert time.monotonic() - told < 4
    assert nothing_is_under_way(station)
    assert station.queued() == 20


def test_a_cold_shutdown_keeps_what_is_done_and_hands_back_the_rest(station: Station) -> None:
    worker = station.start(conf={"worker_soft_shutdown_timeout": 1.0})
    short = [station.send("mark", number, 0.5) for number in range(10)]
    begin(station, 10, 60.0, already=10)
    worker.send(signal.SIGQUIT)
    worker.wait()

    assert [result.get(timeout=1) for result in short] == list(range(10))
    assert nothing_is_under_way(station)
    assert station.queued() == 10
