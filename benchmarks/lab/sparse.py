"""One worker that is asked so seldom that it sleeps between two questions: its CPU time, latency and calls.

Beside it, in turns, one process asks the flow server directly. The ratios of CPU and latency to that bare call depend
less on the machine than the figures themselves, and the number of calls not at all.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from benchmarks.lab import loops
from benchmarks.lab.asking import WORKER_CPU, Row
from benchmarks.lab.counting import Calls, calls_during
from benchmarks.lab.limits import bare_calls, latency
from benchmarks.lab.measure import Ask, median, open_loop
from benchmarks.lab.parts import Lab, LabProcess, wait_until

#: Questions a second: as many as in `loops.sparse`.
RATE = 50
#: Seconds between an answer and the next question while system calls are counted: none falls into another's work.
PAUSE = 0.025
#: Questions during which calls are counted.
COUNTED = 200
#: Depends on what else the machine does: a thread that finds Python's lock taken waits in it.
_LOCK = "futex"
_CPU = "cpu_ms_per_query"
_P50, _P99 = (f"added_{share}_ms_at_{RATE}_per_s" for share in ("p50", "p99"))


def sparse(here: Lab, flow_ms: int, repeats: int) -> Row:
    """Measure one worker at 50 questions a second; its system calls where ``perf`` can count them."""

    async def run() -> Row:
        calls = await _calls(here, flow_ms)
        async with loops.answers(here, 1, flow_ms) as loop, bare_calls(loop.flows) as bare:
            (worker,) = loop.workers
            ours, direct = [], []
            for _ in range(repeats):
                ours.append(await _at_rate(loop.ask, flow_ms, worker.cpu_seconds))
                direct.append(await _at_rate(bare, flow_ms, time.process_time))
            row: Row = {
                "name": f"flywheel-1, {flow_ms} ms flows",
                "queries_per_s": RATE,
                WORKER_CPU: _median(ours, _CPU),
                _P50: _median(ours, _P50),
                _P99: _median(ours, _P99),
                f"bare_{_CPU}": _median(direct, _CPU),
                f"bare_{_P50}": _median(direct, _P50),
                "cpu_ratio": _ratio(ours, direct, _CPU),
                "p50_ratio": _ratio(ours, direct, _P50),
                "python_calls": round(sum(calls.python.values()) / COUNTED),
                "c_calls": round(sum(calls.c.values()) / COUNTED),
            }
            # Longer flows do not need more of them, but a worker makes some in each second, whatever it is asked.
            counted = await system_calls(here, worker, loop.ask) if flow_ms == 0 else None
            if counted:
                row["system_calls_but_futex"] = round(sum(counted.values()) - counted.get(_LOCK, 0), 1)
                row["most"] = ", ".join(f"{name} {number:.1f}" for name, number in list(counted.items())[:8])
            return row

    return uvloop.run(run())


async def _at_rate(ask: Ask, flow_ms: int, cpu_seconds: Callable[[], float]) -> dict[str, float]:
    """Return the added milliseconds at the rate, and the CPU milliseconds per query of whose CPU time is told."""
    before = cpu_seconds()
    added = await latency(ask, flow_ms, (RATE,))
    return {_CPU: (cpu_seconds() - before) * 1000 / (RATE * 5), **added}


def _median(runs: list[dict[str, float]], name: str) -> float:
    return round(median([each[name] for each in runs]), 2)


def _ratio(ours: list[dict[str, float]], direct: list[dict[str, float]], name: str) -> float:
    return round(median([one[name] / other[name] for one, other in zip(ours, direct, strict=True)]), 2)


async def _calls(here: Lab, flow_ms: int) -> Calls:
    """Return the Python calls for the counted questions, by a worker that does nothing else: counting takes time."""
    told = here.folder / "calls.json"
    async with loops.answers(here, 1, flow_ms, counted=told) as loop:

        async def work() -> None:
            await open_loop(loop.ask, per_second=RATE, seconds=COUNTED / RATE, flow_ms=flow_ms)

        return await calls_during(loop.workers[0].pid, told, work)


async def system_calls(here: Lab, worker: LabProcess, ask: Ask) -> dict[str, float]:
    """Return a worker's system calls for one question by name, most first; empty where they cannot be counted."""
    if shutil.which("perf") is None:
        print("system calls are not counted: there is no perf", file=sys.stderr)
        return {}
    found = here.folder / "calls.csv"
    command = ["perf", "stat", "-x,", "-o", str(found), "-e", "syscalls:sys_enter_*", "-p", str(worker.pid)]
    counting = here.part("perf", command)
    # It says nothing when it has begun: what it opens for each thread and call takes it some seconds.
    await asyncio.sleep(5)
    for number in range(COUNTED):
        await ask(number)
        await asyncio.sleep(PAUSE)
    if not counting.alive:
        print(f"system calls are not counted: {counting.log.read_text().strip()[:200]}", file=sys.stderr)
        return {}
    os.kill(counting.pid, signal.SIGINT)  # then it writes what it has counted
    wait_until(lambda: not counting.alive, what="perf")
    return _read(found)


def _read(found: Path) -> dict[str, float]:
    counted: dict[str, float] = {}
    for line in found.read_text().splitlines():
        number, _, name, *_ = [*line.split(","), "", ""]
        if number.isdecimal() and int(number):
            counted[name.removeprefix("syscalls:sys_enter_")] = int(number) / COUNTED
    return dict(sorted(counted.items(), key=lambda each: each[1], reverse=True))
