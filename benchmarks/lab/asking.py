"""Questions that nobody asked before, the environment in which our producer asks them, and the rows of figures."""

from __future__ import annotations

import itertools
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import uvloop

from benchmarks.lab.measure import median
from benchmarks.lab.parts import Lab, LabProcess

if TYPE_CHECKING:
    from producer import AsyncProducer

#: One line of the output: a name and its figures, each named with its unit.
Row = dict[str, Any]
#: Measures one thing with a producer and returns its row.
Work = Callable[["AsyncProducer"], Awaitable[Row]]
#: The figure of a row that all others are compared by.
WORKER_CPU = "worker_cpu_ms_per_query"

_fresh = itertools.count()


def fresh_number() -> int:
    """Return a number that no other question of this process has."""
    return next(_fresh)


def question(number: int) -> str:
    """Return a question that nobody has asked before."""
    return f"How do I connect PostgreSQL number {fresh_number()}-{number} to Python?"


def summary(name: str, flow_ms: int, runs: list[float], worker: list[float], **more: Any) -> Row:
    """Return the row of a closed loop: medians of its runs (queries/s) and of the workers' CPU (ms per query)."""
    return {
        "name": name,
        "queries_per_s": round(median(runs), 1),
        "flow_ms": flow_ms,
        WORKER_CPU: round(median(worker), 3),
        **more,
    }


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for the duration of the block, and switch tracing off."""
    with patch.dict(os.environ, {**values, "FLYWHEEL_TRACING_ENABLED": "false"}):
        yield


def with_producer(env: dict[str, str], work: Work) -> Row:
    """Run ``work`` with a producer that finds its settings in ``env``."""
    with environment(env):
        from producer import AsyncProducer

        async def run() -> Row:
            async with AsyncProducer() as producer:
                return await work(producer)

        return uvloop.run(run())


def one_stack(
    here: Lab, flow_ms: int, *, concurrency: int = 2000, pieces: int = 0, options: Sequence[str] = (), **more: str
) -> tuple[dict[str, str], str, LabProcess]:
    """Start a broker, a flow server and one worker. Returns the environment, the flow server's address, the worker.

    ``pieces``: see ``Lab.flows``. ``options`` of the broker. ``more``: further variables of the environment.
    """
    _, broker = here.broker(*options)
    _, flows = here.flows(flow_ms, pieces)
    env = {**here.environment(broker, flows), **more}
    with environment(env):
        worker = here.worker(f"worker-{fresh_number()}", dict(os.environ), concurrency=concurrency)
    return env, flows, worker
