"""One worker that is asked so seldom that it sleeps between two questions: its CPU time, latency and system calls."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path

import uvloop

from benchmarks.lab import loops
from benchmarks.lab.asking import Row
from benchmarks.lab.limits import latency
from benchmarks.lab.measure import Ask, median
from benchmarks.lab.parts import Lab, LabProcess, wait_until

#: Questions a second: as many as in `loops.sparse`.
RATE = 50
#: Seconds between an answer and the next question while system calls are counted: none falls into another's work.
PAUSE = 0.025
#: Questions during which system calls are counted.
COUNTED = 200
#: Depends on what else the machine does: a thread that finds Python's lock taken waits in it.
_LOCK = "futex"


def sparse(here: Lab, flow_ms: int, repeats: int) -> Row:
    """Measure one worker at 50 questions a second; its system calls where ``perf`` can count them."""

    async def run() -> Row:
        async with loops.answers(here, 1, flow_ms) as loop:
            (worker,) = loop.workers
            cpu: list[float] = []
            added: list[dict[str, float]] = []
            for _ in range(repeats):
                before = worker.cpu_seconds()
                added.append(await latency(loop.ask, flow_ms, (RATE,)))
                cpu.append((worker.cpu_seconds() - before) * 1000 / (RATE * 5))
            row: Row = {
                "name": f"flywheel-1, {flow_ms} ms flows",
                "queries_per_s": RATE,
                "worker_cpu_ms_per_query": round(median(cpu), 2),
                **{name: median([each[name] for each in added]) for name in added[0]},
            }
            # Longer flows do not need more of them, but a worker makes some in each second, whatever it is asked.
            counted = await system_calls(here, worker, loop.ask) if flow_ms == 0 else None
            if counted:
                row["system_calls_but_futex"] = round(sum(counted.values()) - counted.get(_LOCK, 0), 1)
                row["most"] = ", ".join(f"{name} {number:.1f}" for name, number in list(counted.items())[:8])
            return row

    return uvloop.run(run())


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
