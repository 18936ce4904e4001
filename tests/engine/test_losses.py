"""Whatever dies, restarts, hangs or fills up: no task is lost, and none runs twice that need not."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from closing import BROKER_AWAY
from engine.conftest import Station
from processes import Valkey, wait_for


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A broker that the test may hurt."""
    server = Valkey(tmp_path / "own", aof=True).start()
    yield server
    server.process.kill()


def done(station: Station) -> Counter[int]:
    return Counter(int(mark.split()[0]) for mark in station.marks("done"))


def started(station: Station) -> list[int]:
    return [int(mark.split()[0]) for mark in station.marks("started")]


def idle(station: Station, *queues: str) -> bool:
    return station.unacknowledged() == 0 and not any(station.queued(queue) for queue in queues or ("celery",))


def test_nothing_is_lost_when_workers_are_killed_again_and_again(station: Station) -> None:
    queues = ["one", "two"]
    settings: dict[str, Any] = {"queues": ",".join(queues), "visibility": 2.0}
    workers = [station.start(f"first{number}", **settings) for number in range(2)]
    sent: list[int] = []
    enough = threading.Event()

    def send() -> None:
        while not enough.wait(0.02):
            for queue in queues:
                sent.append(len(sent))
                station.send("mark", sent[-1], 0.05, queue=queue)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        for kill in range(6):
            already = len(station.marks("done"))
            wait_for(lambda: len(station.marks("done")) > already + 10)  # noqa: B023
            workers.pop(0).kill()
            workers.append(station.start(f"next{kill}", **settings))
    finally:
        enough.set()
        sender.join()

    wait_for(lambda: idle(station, *queues), what="all is done")
    assert set(sent) - done(station).keys() == set()
    assert len(sent) > 100


def test_a_killed_worker_is_relieved_within_seconds_of_its_visibility_timeout(station: Station) -> None:
    lost = station.start("lost", visibility=2.0)
    station.start("relief", visibility=2.0, queues="other")
    station.send("mark", 1, 60.0)
    wait_for(lambda: started(station) == [1])
    lost.kill()

    wait_for(lambda: station.queued() == 1 and station.unacknowledged() == 0, what="it is back in its queue")


def test_a_task_longer_than_the_visibility_timeout_runs_once(station: Station) -> None:
    for number in range(2):
        station.start(f"worker{number}", visibility=1.0)
    results = [station.send("mark", number, 2.5) for number in range(4)]

    assert [result.get(timeout=30) for result in results] == [0, 1, 2, 3]
    assert sorted(started(station)) == [0, 1, 2, 3]


@pytest.mark.provokes(BROKER_AWAY)
def test_a_broker_that_crashes_and_returns_costs_no_task(own_valkey: Valkey, station: Station) -> None:
    broken = Station(own_valkey, station.folder)
    try:
        worker = broken.start(marks=station.url, concurrency=30)
        for number in range(60):
            broken.send("mark", number, 1.0 if number < 30 else 0.05, ignore_result=True)
        wait_for(lambda: len(started(station)) == 30)
        own_valkey.kill()
        wait_for(lambda: len(done(station)) == 30, what="running tasks go on without a broker")
        own_valkey.start()

        wait_for(lambda: idle(broken), what="the rest is done")
        assert done(station) == dict.fromkeys(range(60), 1)
        assert worker.alive
    finally:
        broken.close()


@pytest.mark.provokes(BROKER_AWAY)
def test_a_broker_that_hangs_longer_than_the_visibility_timeout_makes_no_task_run_twice(
    own_valkey: Valkey, station: Station
) -> None:
    hanging = Station(own_valkey, station.folder)
    try:
        workers = [
            hanging.start(f"worker{number}", visibility=1.5, marks=station.url, concurrency=20) for number in (0, 1)
        ]
        for number in range(40):
            hanging.send("mark", number, 3.5, ignore_result=True)
        wait_for(lambda: len(started(station)) == 40)
        own_valkey.process.send(signal.SIGSTOP)
        time.sleep(2.0)
        own_valkey.process.send(signal.SIGCONT)

        wait_for(lambda: len(done(station)) == 40 and idle(hanging))
        assert len(started(station)) == 40
        assert all(worker.alive for worker in workers)
    finally:
        hanging.close()


@pytest.mark.provokes(BROKER_AWAY)
def test_a_worker_that_is_told_to_stop_while_its_broker_is_away_stops(own_valkey: Valkey, station: Station) -> None:
    away = Station(own_valkey, station.folder)
    try:
        worker = away.start(marks=station.url, grace=0.5)
        away.send("mark", 1, 60.0, ignore_result=True)
        wait_for(lambda: started(station) == [1])
        own_valkey.kill()

        worker.terminate()
    finally:
        away.close()


@pytest.mark.provokes(BROKER_AWAY, "close_session")
def test_a_broker_out_of_memory_still_has_its_queues_drained(own_valkey: Valkey, station: Station) -> None:
    full = Station(own_valkey, station.folder)
    try:
        worker = full.start(concurrency=20)
        results = [full.send("add", number, 1, 0.1) for number in range(200)]
        full.redis.config_set("maxmemory", 1)

        assert [result.get(timeout=30) for result in results] == list(range(1, 201))
        wait_for(lambda: idle(full))
        assert worker.alive
    finally:
        full.close()


def test_urgent_queues_are_served_first_and_low_ones_are_not_forgotten(station: Station) -> None:
    station.start(queues="work.low,work,work.high", concurrency=1)
    station.send("mark", 0, 0.5, queue="work")
    wait_for(lambda: started(station) == [0])
    for number, queue in enumerate(["work.low", "work", "work.high"] * 6, start=1):
        station.send("mark", number, 0.0, queue=queue)

    wait_for(lambda: len(started(station)) == 19)
    bands = [("low", "normal", "high")[(number - 1) % 3] for number in started(station)[1:]]
    assert bands.index("high") < bands.index("normal") < bands.index("low")
    assert bands[:4].count("high") >= 3
    assert "low" in bands[:9]
