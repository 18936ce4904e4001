"""Half load for long: ``python -m benchmarks.soak [--minutes 10] [--rate QUERIES_PER_S] [--json]``.

Starts its own broker, flow server (200 ms) and one worker. The load is half of what the worker carries in a short
trial, or ``--rate``: mostly new questions, some asked before, some in sessions, some cancelled. Prints the memory of
worker and producer over time with its slope in the second half, open sockets, and after everything has expired the keys
that are left in Redis. Only answers and sessions may be.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import sys
import time
from collections import Counter
from typing import Any

import numpy as np
import psutil
import redis
from rich.table import Table

from agentic_flywheel.errors import FlywheelError
from benchmarks.lab.arguments import positive
from benchmarks.lab.asking import question, with_producer
from benchmarks.lab.measure import closed_loop, quantile
from benchmarks.lab.parts import Lab, LabProcess, lab
from benchmarks.lab.table import console

FLOW_MS = 200
#: Seconds after which records expire here, so that what stays can be seen.
RESULT_TTL = 30
SAMPLES = 60
#: What may stay after the records have expired: answers with their memos, sessions, figures of bounded number, and what
#: the transport keeps of its queues and its last batch.
KEPT = ("answer", "front", "session", "turns", "sessions")
BOUNDED = (
    "stats",
    "tally",
    "numbers",
    "pace",
    "fence",
    "drained",
    "circuit",
    "rate",
    "settled",
    "alive",
    "workers",
    "_kombu",
)


def soak(here: Lab, minutes: float, rate: float | None) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Run the load. Returns the samples and what they come to."""
    _, broker = here.broker()
    _, flows = here.flows(FLOW_MS)
    env = {**here.environment(broker, flows), "FLYWHEEL_RESULT_TTL": str(RESULT_TTL)}
    worker = here.worker("worker", {**os.environ, **env, "FLYWHEEL_TRACING_ENABLED": "false"})
    samples: list[dict[str, Any]] = []

    async def work(producer: Any) -> dict[str, Any]:
        async def ask(number: int) -> object:
            return await producer.ask(question(number), wait=60)

        carried = await closed_loop(ask, count=3000, at_once=400)
        wanted = rate or carried / 2
        sampler = asyncio.create_task(_sample(samples, worker, minutes))
        added, outcomes = await _load(producer, wanted, minutes * 60)
        sampler.cancel()
        await asyncio.gather(sampler, return_exceptions=True)
        return {
            "name": "soak",
            "queries_per_s": round(wanted, 1),
            "carried_per_s": round(carried, 1),
            "minutes": minutes,
            **outcomes,
            "added_p50_ms": round(quantile(added, 0.5), 2),
            "added_p99_ms": round(quantile(added, 0.99), 2),
        }

    found = with_producer(env, work)
    half = samples[len(samples) // 2 :]
    found["worker_rss_mb"] = samples[-1]["worker_rss_mb"]
    found["worker_mb_per_hour"] = _slope(half, "worker_rss_mb")
    found["producer_mb_per_hour"] = _slope(half, "producer_rss_mb")
    found["sockets_first_last"] = f"{samples[0]['worker_sockets']} / {samples[-1]['worker_sockets']}"
    # Names go at twice the time.
    time.sleep(2 * RESULT_TTL + 15)
    left = _keys_left(redis.Redis.from_url(broker, decode_responses=True))
    found["kept_keys"] = sum(count for kind, count in left.items() if kind in KEPT)
    found["leaked_keys"] = {kind: n for kind, n in left.items() if kind not in KEPT and kind not in BOUNDED}
    return samples, found


async def _load(producer: Any, rate: float, seconds: float) -> tuple[list[float], dict[str, int]]:
    """Send queries at a fixed rate. Returns the added milliseconds of the new ones, and how all ended."""
    draw, added, ended = random.Random(7), [], Counter[str]()
    under_way: set[asyncio.Task[None]] = set()

    async def one(number: int) -> None:
        chance, start = draw.random(), time.perf_counter()
        try:
            if chance < 0.1:
                await producer.ask(f"How do I connect PostgreSQL database {number % 50} to Python?", wait=60)
            elif chance < 0.15:
                await producer.ask(question(number), session_id=f"talk-{number % 200}", wait=60)
            elif chance < 0.17:
                submitted = await producer.submit(question(number))
                await producer.cancel(submitted.query_id)
                ended["cancelled"] += 1
                return
            else:
                await producer.ask(question(number), wait=60)
                added.append((time.perf_counter() - start) * 1000 - FLOW_MS)
            ended["answered"] += 1
        except FlywheelError as error:
            ended[type(error).__name__] += 1

    start = time.perf_counter()
    for number in range(int(rate * seconds)):
        early = start + number / rate - time.perf_counter()
        if early > 0:
            await asyncio.sleep(early)
        task = asyncio.create_task(one(number))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way)
    return added, dict(ended)


async def _sample(samples: list[dict[str, Any]], worker: LabProcess, minutes: float) -> None:
    mine, start = psutil.Process(), time.monotonic()
    seen = psutil.Process(worker.pid)
    while True:
        samples.append(
            {
                "at_s": round(time.monotonic() - start, 1),
                "worker_rss_mb": round(worker.rss_mb(), 1),
                "worker_sockets": len(seen.net_connections()),
                "producer_rss_mb": round(mine.memory_info().rss / 2**20, 1),
                "producer_sockets": len(mine.net_connections()),
            }
        )
        await asyncio.sleep(minutes * 60 / SAMPLES)


def _slope(samples: list[dict[str, Any]], name: str) -> float:
    """Return MB per hour, by least squares."""
    at = np.array([each["at_s"] for each in samples]) / 3600
    return round(float(np.polyfit(at, np.array([each[name] for each in samples]), 1)[0]), 2)


def _keys_left(client: redis.Redis) -> Counter[str]:
    """Count the keys by kind; a collection that grew with the queries counts by its entries."""
    left: Counter[str] = Counter()
    sizes = {"zset": client.zcard, "hash": client.hlen, "list": client.llen, "stream": client.xlen}
    for key in client.scan_iter(count=1000):
        kind = key.split(":")[1] if key.startswith("flywheel:") else re.split(r"[-.]", key)[0]
        entries = 1
        if kind not in KEPT and kind not in BOUNDED:
            with contextlib.suppress(redis.RedisError, KeyError):
                entries = int(sizes[str(client.type(key))](key))
        left[kind] += entries
    return left


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--minutes", type=positive, default=10.0)
    asked.add_argument("--rate", type=positive, help="queries per second; default: half of what is carried")
    asked.add_argument("--json", action="store_true")
    given = asked.parse_args()
    with lab() as here:
        samples, found = soak(here, given.minutes, given.rate)
    if given.json:
        sys.stdout.write(json.dumps({**found, "samples": samples}) + "\n")
        return
    table = Table(title=f"{found['queries_per_s']:g} queries/s for {given.minutes:g} minutes")
    for column in samples[0]:
        table.add_column(column.replace("_", " "), justify="right")
    for each in samples[:: max(1, len(samples) // 10)]:
        table.add_row(*map(str, each.values()))
    shown = console()
    shown.print(table)
    for name, value in found.items():
        shown.print(f"{name.replace('_', ' ')}: {value}", highlight=False, markup=False)


if __name__ == "__main__":
    main()
