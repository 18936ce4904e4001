"""Rooms for other task queues: an environment for each, with its packages and nothing of ours.

They lie in ``rooms`` of the environment that the benchmark runs in, and are made by the first row that needs one.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.lab.asking import Row, summary
from benchmarks.lab.limits import RATES
from benchmarks.lab.measure import median, quantile
from benchmarks.lab.parts import ROOT, Lab, LabProcess

FOLDER = Path(sys.prefix) / "rooms"


class NoRoom(Exception):
    """The room of a queue cannot be made: its packages cannot be had."""


@dataclass(frozen=True)
class Queue:
    """Another task queue: what it needs, and the command of its worker, without the room's folder."""

    packages: tuple[str, ...]
    module: str
    worker: tuple[str, ...]


QUEUES = {
    "taskiq": Queue(
        ("taskiq==0.13.0", "taskiq-redis==1.2.4", "taskiq-pipelines==0.1.4", "aiohttp==3.14.5", "uvloop==0.23.0"),
        "benchmarks.clients.taskiq_tasks",
        ("taskiq", "worker", "benchmarks.clients.taskiq_tasks:broker", "--workers", "1", "--max-async-tasks", "2000"),
    ),
    "streaq": Queue(
        ("streaq==7.2.0", "aiohttp==3.14.5", "uvloop==0.23.0"),
        "benchmarks.clients.streaq_tasks",
        ("streaq", "run", "benchmarks.clients.streaq_tasks:worker"),
    ),
}


def room_of(name: str) -> Path:
    """Return the folder of programs in a queue's room. Raises NoRoom."""
    folder, packages = FOLDER / name, QUEUES[name].packages
    stamp = folder / "made"
    if not stamp.exists() or stamp.read_text() != " ".join(packages):
        shutil.rmtree(folder, ignore_errors=True)
        for command in (
            [sys.executable, "-m", "venv", str(folder)],
            [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", *packages],
        ):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                lines = done.stderr.strip().splitlines() or ["no reason is given"]
                raise NoRoom(f"{name}, whose packages cannot be installed: {lines[-1][-500:]}")
        stamp.write_text(" ".join(packages))
    return folder / "bin"


def other_queue(here: Lab, name: str, flow_ms: int, repeats: int, count: int, at_once: int) -> Row:
    """Measure another task queue with one worker: two tasks a query, its result awaited by the queue's own means."""
    queue, programs = QUEUES[name], room_of(name)
    _, broker = here.broker()
    _, flows = here.flows(flow_ms)
    env = {"REDIS_URL": broker, "FLOWISE_BASE_URL": flows, "PYTHONPATH": str(ROOT)}
    # Taskiq's caller polls; with its default, answers of a closed loop are seen as soon as they are needed.
    caller = _Caller(here, [str(programs / "python"), "-m", queue.module], {**env, "RESULT_LOOK": "0.2"})
    worker = here.part(name, [str(programs / queue.worker[0]), *queue.worker[1:]], {**env, "RESULT_LOOK": "0.2"})
    caller.ask(count=2 * at_once, at_once=at_once)
    runs, cpu = [], []
    for _ in range(repeats):
        before = worker.cpu_seconds()
        runs.append(float(caller.ask(count=count, at_once=at_once)["queries_per_s"]))
        cpu.append((worker.cpu_seconds() - before) * 1000 / count)
    caller.close()
    # With its default of 0.2 s, taskiq's latency would be that of the looking.
    caller = _Caller(here, [str(programs / "python"), "-m", queue.module], {**env, "RESULT_LOOK": "0.005"})
    added = _latency(caller.ask, flow_ms, [rate for rate in RATES if rate < median(runs) * 0.8])
    caller.close()
    row = summary(name, flow_ms, runs, cpu, **added, rss_mb=round(worker.rss_mb(), 1))
    here.stop(worker)
    return row


def _latency(ask: Callable[..., dict[str, Any]], flow_ms: int, rates: list[int]) -> dict[str, float]:
    found = {}
    for rate in rates:
        added = ask(per_second=rate, seconds=5, flow_ms=flow_ms)["added_ms"]
        found[f"added_p50_ms_at_{rate}_per_s"] = round(quantile(added, 0.5), 2)
        found[f"added_p99_ms_at_{rate}_per_s"] = round(quantile(added, 0.99), 2)
    return found


class _Caller:
    """The caller's process: ``benchmarks.clients.asking`` says what it understands."""

    def __init__(self, here: Lab, command: list[str], env: dict[str, str]) -> None:
        self._process: LabProcess = here.part(f"caller-{len(list(here.folder.iterdir()))}", command, env, spoken=True)
        self._answer()

    def ask(self, **load: float) -> dict[str, Any]:
        """Have it put its questions and return what came of it. Raises RuntimeError where it has ended."""
        self._process.say(json.dumps(load))
        found: dict[str, Any] = json.loads(self._answer())
        return found

    def close(self) -> None:
        self._process.stop()

    def _answer(self) -> str:
        if line := self._process.heard():
            return line
        raise RuntimeError(f"the caller has ended: {self._process.log.read_text()[-2000:]}")
