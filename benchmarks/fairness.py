"""One owner's next question beside another one's thousands: ``python -m benchmarks.fairness [--queries 10000]``.

Starts its own broker, flow server and worker. A modest owner asks one question after another: first alone, then while
another process, which stands for a caller elsewhere, submits the greedy owner's questions, and while these are
classified and answered. Prints how much longer than a call of the flow the modest owner's questions took.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from typing import TYPE_CHECKING

from agentic_flywheel.settings import Settings
from benchmarks.lab.arguments import at_least
from benchmarks.lab.asking import Row, one_stack, question, with_producer
from benchmarks.lab.measure import quantile
from benchmarks.lab.parts import Lab, flow_calls, lab
from benchmarks.lab.table import print_found

if TYPE_CHECKING:
    from producer import AsyncProducer

#: Questions that the modest owner asks alone; and seconds for which that owner asks beside the greedy one.
ALONE, BESIDE_S = 10, 40
#: Submissions of the greedy owner under way at once.
AT_ONCE = 200


def measure(here: Lab, queries: int, flow_ms: int, at_once: int) -> Row:
    """Ask as the modest owner, alone and beside the greedy one."""
    env, flows, _ = one_stack(here, flow_ms, concurrency=1000, FLYWHEEL_FLOWISE_CONCURRENCY=str(at_once))

    async def work(producer: AsyncProducer) -> Row:
        modest = producer.acting_for("modest")
        alone = [await _added(modest, number, flow_ms) for number in range(ALONE)]
        greedy = await asyncio.create_subprocess_exec(
            *("nice", "-n", "19", sys.executable, "-m", "benchmarks.fairness", "--submit", str(queries)),
            env={**os.environ, **env},
            stdout=asyncio.subprocess.PIPE,
        )
        assert greedy.stdout is not None
        await greedy.stdout.readline()  # it begins
        began, calls, beside = time.monotonic(), flow_calls(flows), list[float]()
        while time.monotonic() < began + BESIDE_S:
            beside.append(await _added(modest, len(beside), flow_ms))
        seconds = time.monotonic() - began
        said = await greedy.stdout.readline()
        await greedy.wait()
        return {
            "queries": queries,
            "flow_ms": flow_ms,
            "calls_at_once": at_once,
            "submitted_s": float(said),
            "calls_per_s": round((flow_calls(flows) - calls) / seconds, 1),
            "asked_beside": len(beside),
            "alone_added_p50_max_ms": [round(quantile(alone, 0.5)), round(max(alone))],
            "beside_added_p50_max_ms": [round(quantile(beside, 0.5)), round(max(beside))],
        }

    return with_producer(env, work)


async def _added(modest: AsyncProducer, number: int, flow_ms: int) -> float:
    """Ask one question; return how much longer than its flow's call that took, in milliseconds."""
    began = time.monotonic()
    await modest.ask(question(number), wait=600)
    return (time.monotonic() - began) * 1000 - flow_ms


def submit(queries: int) -> None:
    """Submit the greedy owner's questions. Prints a line at the begin, and the seconds that it took."""

    async def work(producer: AsyncProducer) -> Row:
        greedy, room, began = producer.acting_for("greedy"), asyncio.Semaphore(AT_ONCE), time.monotonic()
        print("begins", flush=True)

        async def one(number: int) -> None:
            async with room:
                await greedy.submit(question(number))

        await asyncio.gather(*map(one, range(queries)))
        print(f"{time.monotonic() - began:.1f}", flush=True)
        return {}

    with_producer({}, work)


def main() -> None:
    """Measure and print."""
    asked = argparse.ArgumentParser(prog="python -m benchmarks.fairness", description=__doc__)
    asked.add_argument("--queries", type=at_least(1), default=10_000, help="questions of the greedy owner")
    asked.add_argument("--flow-ms", type=at_least(1), default=1000)
    asked.add_argument(
        "--at-once", type=at_least(1), default=Settings().flowise_concurrency, help="calls of the server at once"
    )
    asked.add_argument("--json", action="store_true")
    asked.add_argument("--submit", type=int, help=argparse.SUPPRESS)
    given = asked.parse_args()
    if given.submit is not None:
        submit(given.submit)
        return
    with lab() as here:
        found = measure(here, given.queries, given.flow_ms, given.at_once)
    print_found(found, as_json=given.json)


if __name__ == "__main__":
    main()
