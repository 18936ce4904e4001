"""The loops that are measured on our own stack: each stands ready and is run as often as one likes."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.lab.asking import environment, one_stack, question
from benchmarks.lab.measure import Ask, closed_loop, median, open_loop
from benchmarks.lab.parts import Lab, LabProcess


@dataclass(frozen=True)
class LoadRun:
    """What one run of a loop came to."""

    queries_per_s: float
    #: CPU milliseconds per query in the workers, and in this process.
    worker_cpu_ms: float
    producer_cpu_ms: float
    #: The median of the milliseconds that were added to the flow's own, where questions come at a fixed rate.
    added_p50_ms: float | None = None


@dataclass(frozen=True)
class Loop:
    """What is asked, by how many callers at once, and the workers whose CPU time counts."""

    ask: Ask
    at_once: int
    workers: tuple[LabProcess, ...] = ()
    #: Questions a second, and the milliseconds of their flow, where callers do not wait for the answers before them.
    per_second: float | None = None
    flow_ms: int = 0
    #: The address of its flow server.
    flows: str = ""

    async def run(self, count: int) -> LoadRun:
        """Ask ``count`` questions and return how quickly they were answered."""
        workers, mine = self._worker_seconds(), time.process_time()
        added: float | None = None
        if self.per_second is None:
            rate = await closed_loop(self.ask, count=count, at_once=self.at_once)
        else:
            rate, seconds = self.per_second, count / self.per_second
            added = median(await open_loop(self.ask, per_second=rate, seconds=seconds, flow_ms=self.flow_ms))
        return LoadRun(
            queries_per_s=rate,
            worker_cpu_ms=(self._worker_seconds() - workers) * 1000 / count,
            producer_cpu_ms=(time.process_time() - mine) * 1000 / count,
            added_p50_ms=added,
        )

    def _worker_seconds(self) -> float:
        return sum(worker.cpu_seconds() for worker in self.workers)


@asynccontextmanager
async def answers(here: Lab, workers: int, flow_ms: int, *, counted: Path | None = None) -> AsyncIterator[Loop]:
    """New questions, each answered by a flow that takes ``flow_ms`` milliseconds.

    ``counted``: the file of a worker that counts its calls, see ``benchmarks.lab.counting``.
    """
    _, broker = here.broker()
    _, flows = here.flows(flow_ms)
    with environment(here.environment(broker, flows)):
        running = [here.worker(f"flywheel-{workers}-{n}", dict(os.environ), counted=counted) for n in range(workers)]
        from producer import AsyncProducer

        async with AsyncProducer() as producer:

            async def ask(number: int) -> object:
                return await producer.ask(question(number), wait=60)

            loop = Loop(ask, 1200, tuple(running), flows=flows)
            await loop.run(2000)  # connections are open and the router is fitted before anything counts
            yield loop
    here.stop(*running)


@asynccontextmanager
async def sparse(here: Lab, flow_ms: int) -> AsyncIterator[Loop]:
    """The same with one worker, 50 times a second: it sleeps between two questions."""
    async with answers(here, 1, flow_ms) as loop:
        yield replace(loop, per_second=50, flow_ms=flow_ms)


@asynccontextmanager
async def submissions(here: Lab) -> AsyncIterator[Loop]:
    """New questions that are put into the queue; nobody works them off."""
    _, broker = here.broker()
    with environment(here.environment(broker, "http://127.0.0.1:9")):
        from producer import AsyncProducer

        async with AsyncProducer() as producer:

            async def submit(number: int) -> object:
                return await producer.submit(question(number))

            loop = Loop(submit, 128)
            await loop.run(2000)
            yield loop


@asynccontextmanager
async def cache_hits(here: Lab) -> AsyncIterator[Loop]:
    """Two hundred questions whose answers are cached. Raises AssertionError where an answer is not."""
    env, _, worker = one_stack(here, 1)
    with environment(env):
        from producer import AsyncProducer

        async with AsyncProducer() as producer:
            asked = [question(number) for number in range(200)]
            for each in asked:
                await producer.ask(each, wait=30)

            async def ask(number: int) -> object:
                answer = await producer.ask(asked[number % len(asked)])
                assert answer.cached, "not a hit"
                return answer

            yield Loop(ask, 64)
    here.stop(worker)


@dataclass(frozen=True)
class Load:
    """A loop by its name, and the queries that one run of it needs to be worth something."""

    #: The number of its group in ``benchmarks.pipeline``.
    group: int
    count: int
    standing: Callable[[Lab], AbstractAsyncContextManager[Loop]]
    #: Whether ``--quick`` measures it.
    quick: bool = True


#: What two commits are compared by.
LOADS: dict[str, Load] = {
    "flywheel-1, 200 ms flows": Load(1, 6000, lambda here: answers(here, 1, 200)),
    "flywheel-2, 200 ms flows": Load(1, 6000, lambda here: answers(here, 2, 200), quick=False),
    "flywheel-1, 0 ms flows": Load(2, 4000, lambda here: answers(here, 1, 0)),
    "flywheel-2, 0 ms flows": Load(2, 4000, lambda here: answers(here, 2, 0), quick=False),
    "submissions": Load(3, 12_000, submissions),
    "cache-hits": Load(3, 8000, cache_hits),
    "flywheel-1, 200 ms flows, 50/s": Load(4, 500, lambda here: sparse(here, 200)),
    "flywheel-1, 0 ms flows, 50/s": Load(4, 500, lambda here: sparse(here, 0)),
}
