"""What ours is compared with: one process that asks the flow server directly, and the Celery that one writes first."""

from __future__ import annotations

import asyncio
import importlib
import sys
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import uvloop

from benchmarks.lab.asking import Row, environment, question, summary
from benchmarks.lab.measure import Ask, closed_loop, median, open_loop, quantile
from benchmarks.lab.parts import Lab

#: Plain Celery's tasks.
_NAIVE = "benchmarks.lab.naive"
#: Queries per second at which added latency is measured, where the system can carry them.
RATES = (50, 500)


async def latency(ask: Ask, flow_ms: int, rates: tuple[int, ...] = RATES) -> dict[str, float]:
    """Return the median and the 99th percentile of the milliseconds beyond the flow's own, for each rate."""
    found = {}
    for rate in rates:
        added = await open_loop(ask, per_second=rate, seconds=5, flow_ms=flow_ms)
        found[f"added_p50_ms_at_{rate}_per_s"] = round(quantile(added, 0.5), 2)
        found[f"added_p99_ms_at_{rate}_per_s"] = round(quantile(added, 0.99), 2)
    return found


@asynccontextmanager
async def bare_calls(flows: str) -> AsyncIterator[Ask]:
    """Yield what asks the flow server at this address directly."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(number: int) -> object:
            body = {"question": question(number)}
            async with session.post(f"{flows}/api/v1/prediction/x", json=body) as response:
                return await response.json()

        yield ask


def raw_limit(here: Lab, flow_ms: int, repeats: int, count: int) -> Row:
    """Measure what one process can ask of the flow server at all."""
    _, flows = here.flows(flow_ms)
    cpu: list[float] = []

    async def run() -> tuple[list[float], dict[str, Any]]:
        async with bare_calls(flows) as ask:
            await closed_loop(ask, count=500, at_once=200)
            runs = []
            for _ in range(repeats):
                before = time.process_time()
                runs.append(await closed_loop(ask, count=count, at_once=1200))
                cpu.append((time.process_time() - before) * 1000 / count)
            return runs, await latency(ask, flow_ms)

    runs, added = uvloop.run(run())
    return summary("limit", flow_ms, runs, cpu, **added)


def plain_celery(here: Lab, pool: str, concurrency: int, flow_ms: int, repeats: int, count: int) -> Row:
    """Measure ``chain(classify, flow).get()`` from as many threads as the worker runs tasks at once."""
    _, broker = here.broker()
    _, flows = here.flows(flow_ms)
    env = {"REDIS_URL": broker, "FLOWISE_BASE_URL": flows}
    command = [sys.executable, "-m", "celery", "-A", _NAIVE, "worker", "-P", pool]
    worker = here.part(f"celery-{pool}", [*command, "-c", str(concurrency), "-l", "WARNING"], env)
    callers = ThreadPoolExecutor(concurrency)
    with environment(env):
        from celery import chain

        # Its app reads the broker's address when it is imported, and every row has a broker of its own.
        sys.modules.pop(_NAIVE, None)
        naive = importlib.import_module(_NAIVE)

        def ask_and_wait(number: int) -> object:
            return chain(naive.classify.s(question(number)), naive.flow.s()).apply_async().get(timeout=60)

        async def ask(number: int) -> object:
            return await asyncio.get_running_loop().run_in_executor(callers, ask_and_wait, number)

        async def run() -> tuple[list[float], list[float], dict[str, float]]:
            await closed_loop(ask, count=2 * concurrency, at_once=concurrency)
            runs, cpu = [], []
            for _ in range(repeats):
                before = worker.cpu_seconds()
                runs.append(await closed_loop(ask, count=count, at_once=concurrency))
                cpu.append((worker.cpu_seconds() - before) * 1000 / count)
            carried = tuple(rate for rate in RATES if rate < median(runs) * 0.8)
            return runs, cpu, await latency(ask, flow_ms, carried)

        runs, cpu, added = asyncio.run(run())
    callers.shutdown()
    row = summary(f"celery-{pool}", flow_ms, runs, cpu, **added, rss_mb=round(worker.rss_mb(), 1))
    here.stop(worker)
    return row
