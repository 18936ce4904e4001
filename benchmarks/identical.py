"""One question asked very often at once: ``python -m benchmarks.identical [--questions 100000] [--json]``.

Starts its own broker, flow server and worker. While another process asks the question, and its answers are told to
everybody, this one asks 20 different questions a second. Prints the longest script by the server's SLOWLOG, and the
latency of this process's questions beside that of the same questions alone before. The process that asks the one
question has the lowest priority (``nice``): it stands for callers on other machines.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import sys
import time
from typing import TYPE_CHECKING

import redis

from benchmarks.lab.arguments import at_least
from benchmarks.lab.asking import Row, one_stack, question, with_producer
from benchmarks.lab.measure import quantile
from benchmarks.lab.parts import Lab, lab
from benchmarks.lab.table import print_found

if TYPE_CHECKING:
    from producer import AsyncProducer

#: Long enough for most of the questions to be there before the answer.
FLOW_MS = 5000
#: Questions a second of the other caller, and for how many seconds it asks alone.
PACE, ALONE_S = 20, 15
#: Submissions under way at once.
AT_ONCE = 200


def measure(here: Lab, questions: int) -> Row:
    """Ask beside the many who ask one question, and read what the server took note of."""
    env, _, _ = one_stack(here, FLOW_MS)
    server: redis.Redis = redis.Redis.from_url(env["REDIS_URL"], decode_responses=True)
    server.config_set("slowlog-log-slower-than", 5000)

    async def work(producer: AsyncProducer) -> Row:
        alone: list[float] = []
        await _bystander(producer, alone, until=time.monotonic() + ALONE_S)
        server.slowlog_reset()
        beside: list[float] = []
        done = asyncio.Event()
        bystander = asyncio.create_task(_bystander(producer, beside, done=done))
        many = await asyncio.create_subprocess_exec(
            *("nice", "-n", "19", sys.executable, "-m", "benchmarks.identical", "--ask", str(questions)),
            env={**os.environ, **env},
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await many.communicate()
        done.set()
        await bystander
        longest = max((each["duration"] for each in server.slowlog_get(512)), default=0)
        return {
            "questions": questions,
            **json.loads(said),
            "longest_script_ms": round(longest / 1000, 1),
            "bystander_alone_p50_p99_ms": [round(quantile(alone, share)) for share in (0.5, 0.99)],
            "bystander_beside_p50_p99_ms": [round(quantile(beside, share)) for share in (0.5, 0.99)],
        }

    return with_producer(env, work)


def ask(questions: int) -> Row:
    """Ask the one question as often, wait for its answer, and look whether everybody has it."""

    async def work(producer: AsyncProducer) -> Row:
        room = asyncio.Semaphore(AT_ONCE)
        began = time.monotonic()

        async def submit() -> str:
            async with room:
                return (await producer.submit("Which PostgreSQL question is asked most often?")).query_id

        ids = await asyncio.gather(*(submit() for _ in range(questions)))
        submitted = time.monotonic() - began
        sample = [await producer.wait(each, 120) for each in ids[:: max(1, questions // 1000)]]
        return {
            "submitted_s": round(submitted, 1),
            "answered_s": round(time.monotonic() - began, 1),
            "answered_of_a_sample": f"{sum(1 for each in sample if each.text)} of {len(sample)}",
        }

    return with_producer({}, work)


async def _bystander(
    producer: AsyncProducer, added: list[float], *, until: float = math.inf, done: asyncio.Event | None = None
) -> None:
    asking: set[asyncio.Task[None]] = set()

    async def ask(number: int) -> None:
        began = time.monotonic()
        await producer.ask(question(number), wait=120)
        added.append((time.monotonic() - began) * 1000 - FLOW_MS)

    number = 0
    while time.monotonic() < until and not (done is not None and done.is_set()):
        number += 1
        task = asyncio.create_task(ask(number))
        asking.add(task)
        task.add_done_callback(asking.discard)
        await asyncio.sleep(1 / PACE)
    await asyncio.gather(*asking)


def main() -> None:
    """Measure and print."""
    asked = argparse.ArgumentParser(prog="python -m benchmarks.identical", description=__doc__)
    asked.add_argument("--questions", type=at_least(1), default=100_000)
    asked.add_argument("--json", action="store_true")
    asked.add_argument("--ask", type=int, help=argparse.SUPPRESS)
    given = asked.parse_args()
    if given.ask is not None:
        print(json.dumps(ask(given.ask)))
        return
    with lab() as here:
        found = measure(here, given.questions)
    print_found(found, as_json=given.json)


if __name__ == "__main__":
    main()
