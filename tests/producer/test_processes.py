"""A producer in forked children, in threads, on several loops, closed, forgotten: it works, or it says why not."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from pipeline.house import NARROW, House
from processes import IMPORT_PATH, Process, free_port, wait_for

PROGRAMS = Path(__file__).with_name("programs.py")


def environment(house: House) -> dict[str, str]:
    return {
        **os.environ,
        "REDIS_URL": house.broker.url,
        "FLYWHEEL_REGISTRY": str(house.registry),
        "FLYWHEEL_HOME": str(house.folder / "home"),
        "PYTHONPATH": os.pathsep.join(map(str, IMPORT_PATH)),
    }


def printed(house: House, program: str, **env: str) -> list[str]:
    """Run one of the programs to its end, which has to come by itself, and return its lines."""
    command = [sys.executable, "-u", "-W", "ignore::DeprecationWarning", str(PROGRAMS), program]
    done = subprocess.run(
        command, env={**environment(house), **env}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr, done.stderr[-3000:]
    assert "never awaited" not in done.stderr
    return done.stdout.splitlines()


def test_a_forked_child_connects_anew_and_its_parent_goes_on(house: House) -> None:
    flow = "technical-analysis"

    assert printed(house, "forks") == [
        f"parent {flow}",
        f"child {flow}",
        "exit 0",
        f"pool {[flow] * 4}",
        f"again {flow}",
    ]


def test_a_fork_amid_the_calls_of_other_threads_stops_nobody(house: House) -> None:
    assert printed(house, "forks_while_busy") == [f"children {[0] * 10} failures []"]


def test_a_fork_waits_until_the_producers_thread_holds_no_lock(house: House) -> None:
    assert printed(house, "forks_amid_a_step") == ["child 0"]


def test_a_child_reads_on_where_its_parents_stream_was(house: House) -> None:
    assert printed(house, "forks_amid_a_stream") == ["child final", "parent final"]


def test_an_async_producer_serves_one_loop_after_another_and_refuses_two_at_once(house: House) -> None:
    flow = "technical-analysis"

    assert printed(house, "async_forks") == [
        f"first {flow}",
        f"second {flow}",
        f"child {flow}",
        "two at once LoopInUse",
    ]


@pytest.fixture
def slow_narrow(house: House) -> Iterator[None]:
    house.behave(NARROW, latency=20)
    yield
    house.reset()


@pytest.mark.usefixtures("slow_narrow")
def test_threads_share_a_producer_and_closing_it_ends_their_waits(house: House) -> None:
    assert printed(house, "threads") == [
        "answers 64 {'technical-analysis'}",
        "waited ProducerClosed",
        "hangs False",
        "closed ['ProducerClosed', 'ProducerClosed', 'ProducerClosed']",
    ]


@pytest.mark.usefixtures("slow_narrow")
def test_a_forgotten_producer_ends_its_thread_and_lets_the_program_end(house: House) -> None:
    assert printed(house, "forgotten") == ["threads 1", "leaving"]


def test_a_producer_works_in_code_that_runs_on_a_loop(house: House) -> None:
    assert printed(house, "on_a_loop") == ["answer technical-analysis"]


def test_a_wait_is_kept_where_the_broker_is_silent(house: House) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"

        assert printed(house, "dead_broker", REDIS_URL=address) == ["BrokerUnavailable True"] * 2


@pytest.mark.skipif(importlib.util.find_spec("gevent") is None, reason="gevent is not installed")
def test_gevent_is_refused_by_name(house: House) -> None:
    (said,) = printed(house, "gevent_threads")

    assert said.startswith("GreenThreads Producer cannot run here: gevent has replaced Python's threads")


APP = """
from producer import Producer

producer = Producer()
producer.recent()  # connected before the workers are forked


def application(environ, start_response):
    answer = producer.ask(environ["QUERY_STRING"], wait=20)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [answer.flow.encode()]
"""


@pytest.mark.skipif(importlib.util.find_spec("gunicorn") is None, reason="gunicorn is not installed")
def test_gunicorn_with_preload_answers_from_every_worker(house: House, tmp_path: Path) -> None:
    (tmp_path / "wsgi_app.py").write_text(APP)
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--preload", "-w", "3", "-b", f"127.0.0.1:{port}"]
    command += ["--pythonpath", str(tmp_path), "wsgi_app"]
    server = Process(command, log=tmp_path / "gunicorn.log", env=environment(house))
    try:
        wait_for(lambda: "Booting worker" in server.log, within=30, what="gunicorn's workers")
        found = set()
        for number in range(12):
            with urllib.request.urlopen(
                f"http://127.0.0.1:{port}/?Which+python+database+{number}", timeout=30
            ) as reply:
                found.add(reply.read().decode())
    finally:
        server.kill()

    assert found == {"technical-analysis"}
