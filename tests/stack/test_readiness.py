"""The file of a worker's health: it is young while the worker and its broker are well, old or gone otherwise."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pipeline.house import House
from processes import REPOSITORY, Valkey, wait_for

from workers.readiness import Readiness


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_it_is_touched_while_the_broker_answers_and_goes_with_the_worker(house: House, tmp_path: Path) -> None:
    worker = house.worker()
    told = tmp_path / "w0.ready"
    try:
        first = told.stat().st_mtime
        wait_for(lambda: told.stat().st_mtime > first, within=Readiness.FRESH, what="touched again")
        house.broker.process.send(signal.SIGSTOP)
        time.sleep(3)  # what was under way when the broker stopped
        last = told.stat().st_mtime
        time.sleep(6)
        untouched = told.stat().st_mtime == last
        house.broker.process.send(signal.SIGCONT)
        wait_for(
            lambda: told.stat().st_mtime > last, within=2 * Readiness.FRESH, what="touched after the broker came back"
        )
        worker.terminate(within=30)

        assert untouched
        assert not told.exists()
    finally:
        house.broker.process.send(signal.SIGCONT)
        house.stop()


def start_worker(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "import producer.cli as cli; cli.main()", "worker", *arguments],
        cwd=REPOSITORY,
        env={"FLOWISE_BASE_URL": "http://127.0.0.1:9", "PATH": "", **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_flywheel_worker_refuses_a_domain_that_is_not_there() -> None:
    refused = start_worker("--domain", "nowhere")

    assert refused.returncode == 2
    assert refused.stderr.startswith("There is no domain 'nowhere'; known: creative, documents, technical\n")


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("FLYWHEEL_TRACE_MASK", "nowhere", "FLYWHEEL_TRACE_MASK is not acceptable"),
        ("FLOWISE_BASE_URL", "http://host:99999", "FLOWISE_BASE_URL is not acceptable"),
        ("REDIS_URL", "redis://nobody:s3cret@127.0.0.1:{port}/0", "does not accept the user or password in REDIS_URL"),
        ("REDIS_URL", "redis://127.0.0.1:{port}/99", "it has no database of the number in REDIS_URL"),
    ],
)
def test_what_keeps_a_worker_from_ever_serving_ends_it_at_its_start(
    variable: str, value: str, told: str, valkey: Valkey
) -> None:
    refused = start_worker(**{variable: value.format(port=valkey.port)})

    assert refused.returncode == 2, refused.stderr
    assert told in refused.stderr.splitlines()[0]
    assert "s3cret" not in refused.stderr + refused.stdout
