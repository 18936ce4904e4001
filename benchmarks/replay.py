"""Measure a replay: against direct calls of the same client, its memory, how quickly it goes on, what it costs others.

``python -m benchmarks.replay [--json] [--quick] [--only 1,2]``. Everything is started here, on free ports: a broker, a
flow server that answers after a fixed time, one worker. The replay is the real command in a process of its own.

1. Items per second against direct calls of the same Flowise client at the same concurrency, and what an item adds.
2. Resident memory of the replay, and of its broker, over files of 10,000, 100,000 and 1,000,000 lines; and the time
   until such a replay that was interrupted asks its next question. There are 5,000 different questions in them, so most
   answers come from the cache and a million lines take minutes.
3. How long live queries take, alone and beside a replay of 5,000.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import redis
import uvloop
from rich.console import Console

from agentic_flywheel.backends.flowise import FlowiseClient
from agentic_flywheel.backends.models import FlowCall
from agentic_flywheel.registry import load_catalog
from benchmarks.lab.arguments import numbers_to
from benchmarks.lab.measure import closed_loop, open_loop, quantile
from benchmarks.lab.parts import Lab, LabProcess, flow_calls, lab, wait_until
from benchmarks.lab.table import table

Row = dict[str, Any]
#: Different questions in a file whose lines are many.
DIFFERENT = 5000
COMMAND = str(Path(sys.executable).parent / "flywheel")


def question(number: int) -> str:
    return f"How do I connect PostgreSQL number {number} to Python?"


def write_questions(path: Path, count: int, *, different: int | None = None) -> Path:
    with path.open("w") as file:
        for number in range(count):
            asked = question(number % (different or count))
            file.write(json.dumps({"id": f"q{number}", "question": asked}) + "\n")
    return path


class ReplayStack:
    """A broker, a flow server, one worker, and replays beside them."""

    def __init__(self, here: Lab, flow_ms: int) -> None:
        self.here, self.flow_ms = here, flow_ms
        _, self.broker = here.broker()
        _, self.flows = here.flows(flow_ms)
        self.env = {
            **os.environ,
            **here.environment(self.broker, self.flows),
            "FLYWHEEL_TRACING_ENABLED": "false",
        }
        here.worker("worker", self.env, concurrency=4000)

    def replay(self, name: str, *arguments: str) -> LabProcess:
        out = self.here.folder / name
        given = () if "--resume" in arguments else ("--out", str(out))
        return self.here.part(
            f"replay-{name}", [COMMAND, "replay", *arguments, *given, "--no-report", "--json"], self.env
        )

    def results(self, name: str) -> Path:
        return self.here.folder / name / "results.jsonl"


def finish(replay: LabProcess, *, seconds: float = 7200) -> dict[str, Any]:
    """Wait for a replay's end and return what it said. Raises RuntimeError where it did not complete."""
    wait_until(lambda: not replay.alive, seconds=seconds, what="the replay's end")
    said = replay.log.read_text()
    for line in said.splitlines():
        if line.startswith('{"folder"'):
            found: dict[str, Any] = json.loads(line)
            if found["ending"] == "complete":
                return found
    raise RuntimeError(said[-2000:])


def moments(results: Path) -> tuple[list[float], list[float]]:
    """Return when the items of a replay began and ended."""
    started, ended = [], []
    with results.open() as lines:
        for line in lines:
            fields = json.loads(line)
            started.append(datetime.fromisoformat(fields["started"]).timestamp())
            ended.append(datetime.fromisoformat(fields["ended"]).timestamp())
    return started, ended


# 1


def throughput(here: Lab, flow_ms: int, concurrency: int, count: int) -> Row:
    stack = ReplayStack(here, flow_ms)
    with patch.dict(os.environ, stack.env):
        direct, direct_ms = uvloop.run(direct_calls(stack, concurrency, count))
    file = write_questions(here.folder / "questions.jsonl", count)
    # Once before it counts: the worker has its connections, the router is fitted.
    finish(
        stack.replay("warm", str(write_questions(here.folder / "warm.jsonl", 500)), "--concurrency", str(concurrency))
    )
    calls = flow_calls(stack.flows)
    replay = stack.replay("run", str(file), "--concurrency", str(concurrency))
    busy = 0.0
    while replay.alive:
        busy = max(busy, replay.cpu_seconds())
        time.sleep(0.1)
    finish(replay)
    started, ended = moments(stack.results("run"))
    rate = count / (max(ended) - min(started))
    spans = [(end - start) * 1000 for start, end in zip(started, ended, strict=True)]
    return {
        "name": f"{flow_ms} ms flows, {concurrency} at once",
        "items": count,
        "direct_per_s": round(direct, 1),
        "replay_per_s": round(rate, 1),
        "ratio": round(rate / direct, 3),
        "added_p50_ms": round(quantile(spans, 0.5) - quantile(direct_ms, 0.5), 2),
        "added_p99_ms": round(quantile(spans, 0.99) - quantile(direct_ms, 0.99), 2),
        "cpu_ms_per_item": round(busy * 1000 / count, 3),
        "calls_per_item": round((flow_calls(stack.flows) - calls) / count, 4),
    }


async def direct_calls(stack: ReplayStack, concurrency: int, count: int) -> tuple[float, list[float]]:
    """Return calls per second and the milliseconds of each."""
    flow = load_catalog(Path(stack.env["FLYWHEEL_REGISTRY"])).default
    took: list[float] = []
    async with FlowiseClient(stack.flows) as client:

        async def ask(number: int) -> object:
            start = time.perf_counter()
            answer = await client.predict(FlowCall(flow=flow, question=question(number), chat_id=f"c{number}"))
            took.append((time.perf_counter() - start) * 1000)
            return answer

        await closed_loop(ask, count=2 * concurrency, at_once=concurrency)
        took.clear()
        return await closed_loop(ask, count=count, at_once=concurrency), took


# 2


def memory(here: Lab, lines: int) -> Row:
    stack = ReplayStack(here, 0)
    client = redis.Redis.from_url(stack.broker)
    file = write_questions(here.folder / "questions.jsonl", lines, different=DIFFERENT)
    began = time.perf_counter()
    replay = stack.replay("run", str(file), "--concurrency", "200", "--cache", "use")
    rss: list[float] = []
    broker = 0.0
    while replay.alive:
        rss.append(replay.rss_mb())
        broker = max(broker, client.info("memory")["used_memory"] / 2**20)
        time.sleep(0.25)
    finish(replay)
    seconds = time.perf_counter() - began
    row = {
        "name": f"{lines:,} lines",
        "items_per_s": round(lines / seconds, 1),
        "rss_peak_mb": round(max(rss), 1),
        "rss_p50_mb": round(quantile(rss, 0.5), 1),
        "broker_peak_mb": round(broker, 1),
        "resume_s": resuming(stack, lines),
    }
    began, report_rss = time.perf_counter(), 0.0
    report = here.part("report", [COMMAND, "replay", "report", str(stack.results("run").parent)], stack.env)
    while report.alive:
        report_rss = max(report_rss, report.rss_mb())
        time.sleep(0.1)
    return {**row, "report_s": round(time.perf_counter() - began, 1), "report_rss_peak_mb": round(report_rss, 1)}


def resuming(stack: ReplayStack, lines: int) -> float:
    """Return the seconds from the start of the command until it has asked the only question that is left."""
    results = stack.results("run")
    with results.open("r+b") as file:
        file.seek(-min(results.stat().st_size, 4096), os.SEEK_END)
        tail = file.read()
        last = len(tail) - tail.rstrip(b"\n").rfind(b"\n") - 1
        file.truncate(results.stat().st_size - last)
    began = time.perf_counter()
    found = finish(stack.replay("resumed", "--resume", str(results.parent)))
    if found["done"] != lines:
        raise RuntimeError(str(found))
    return round(time.perf_counter() - began, 2)


# 3


def live(here: Lab, count: int, concurrency: int) -> Row:
    stack = ReplayStack(here, 200)
    with patch.dict(os.environ, stack.env):
        from producer import AsyncProducer

        async def run() -> tuple[list[float], list[float], LabProcess]:
            async with AsyncProducer() as producer:
                fresh = iter(range(10**9))

                async def ask(_: int) -> object:
                    asked = f"Which index does join number {next(fresh)} need?"
                    return await producer.ask(asked, cache="bypass", wait=60)

                seconds = max(5.0, count / concurrency * 0.2)
                await open_loop(ask, per_second=20, seconds=2, flow_ms=200)
                alone = await open_loop(ask, per_second=20, seconds=seconds, flow_ms=200)
                file = write_questions(here.folder / "questions.jsonl", count)
                replay = stack.replay("run", str(file), "--concurrency", str(concurrency))
                wait_until(lambda: stack.results("run").exists(), what="the replay's start")
                beside = await open_loop(ask, per_second=20, seconds=seconds * 0.8, flow_ms=200)
                return alone, beside, replay

        alone, beside, replay = uvloop.run(run())
    still = replay.alive
    finish(replay)
    started, ended = moments(stack.results("run"))
    row: Row = {"name": f"replay of {count:,}, {concurrency} at once", "covered": still}
    row["replay_per_s"] = round(count / (max(ended) - min(started)), 1)
    for name, added in (("alone", alone), ("beside", beside)):
        row[f"{name}_p50_ms"] = round(quantile(added, 0.5) + 200, 1)
        row[f"{name}_p95_ms"] = round(quantile(added, 0.95) + 200, 1)
    row["p95_ratio"] = round(row["beside_p95_ms"] / row["alone_p95_ms"], 3)
    return row


def groups(quick: bool) -> dict[str, list[Any]]:
    few, sizes = (2000, (1000, 5000)) if quick else (10_000, (10_000, 100_000, 1_000_000))
    return {
        "against direct calls": [
            lambda here: throughput(here, 200, 32, few // 4),
            lambda here: throughput(here, 200, 100, few),
            lambda here: throughput(here, 50, 32, few),
        ],
        "memory and resuming": [lambda here, lines=lines: memory(here, lines) for lines in sizes],
        "live queries": [
            lambda here: live(here, 1000 if quick else 5000, 32),
            lambda here: live(here, 1000 if quick else 5000, 100),
        ],
    }


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--json", action="store_true", help="one JSON object per row")
    asked.add_argument("--quick", action="store_true", help="a fraction of the load: a look, not a result")
    asked.add_argument("--only", type=numbers_to(3), help="groups to run: numbers from 1, comma separated")
    given = asked.parse_args()
    console = Console(stderr=given.json)
    for number, (title, rows) in enumerate(groups(given.quick).items(), 1):
        if given.only and number not in given.only:
            continue
        done: list[Row] = []
        for measure in rows:
            with lab() as here:
                row = measure(here)
            done.append(row)
            if given.json:
                sys.stdout.write(json.dumps(row) + "\n")
                sys.stdout.flush()
            else:
                console.print(f"[dim]{row['name']} done[/dim]")
        if not given.json:
            console.print(table(title, done))


if __name__ == "__main__":
    main()
