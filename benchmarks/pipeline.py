"""The way of a query, measured end to end: ``python -m benchmarks.pipeline [--json] [--repeats N] [--only NAMES]``.

Every group starts its own broker, flow server and workers on this machine, in one run, and its ratios are to its first
row. Figures are medians over the repeats; each is named with its unit. Tracing is off here; ``benchmarks.tracing`` says
what it costs.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import itertools
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import aiohttp
import redis
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.lab.measure import Ask, closed_loop, median, open_loop, quantile
from benchmarks.lab.parts import Lab, Part, flow_calls, lab, wait_until

Row = dict[str, Any]
#: Plain Celery's tasks.
NAIVE = "benchmarks.lab.naive"
_fresh = itertools.count()
#: What a query adds beside its flow is measured at these rates, where the system can carry them.
RATES = (50, 500)


def question(number: int) -> str:
    """A question that nobody has asked before."""
    return f"How do I connect PostgreSQL number {next(_fresh)}-{number} to Python?"


def summary(name: str, flow_ms: int, runs: list[float], worker: list[float], **more: Any) -> Row:
    return {
        "name": name,
        "queries_per_s": round(median(runs), 1),
        "flow_ms": flow_ms,
        "worker_cpu_ms_per_query": round(median(worker), 3),
        **more,
    }


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    with patch.dict(os.environ, {**values, "FLYWHEEL_TRACING_ENABLED": "false"}):
        yield


# The limit: what one process can ask of the flow server at all


def raw_limit(here: Lab, flow_ms: int, repeats: int, count: int) -> Row:
    _, flows = here.flows(flow_ms)
    cpu: list[float] = []

    async def run() -> tuple[list[float], dict[str, Any]]:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:

            async def ask(number: int) -> object:
                body = {"question": question(number)}
                async with session.post(f"{flows}/api/v1/prediction/x", json=body) as response:
                    return await response.json()

            await closed_loop(ask, count=500, at_once=200)
            runs = []
            for _ in range(repeats):
                before = time.process_time()
                runs.append(await closed_loop(ask, count=count, at_once=1200))
                cpu.append((time.process_time() - before) * 1000 / count)
            return runs, await latency(ask, flow_ms)

    runs, added = uvloop.run(run())
    return summary("limit", flow_ms, runs, cpu, **added)


async def latency(ask: Ask, flow_ms: int, rates: tuple[int, ...] = RATES) -> dict[str, float]:
    found = {}
    for rate in rates:
        added = await open_loop(ask, per_second=rate, seconds=5, flow_ms=flow_ms)
        found[f"added_p50_ms_at_{rate}_per_s"] = round(quantile(added, 0.5), 2)
        found[f"added_p99_ms_at_{rate}_per_s"] = round(quantile(added, 0.99), 2)
    return found


# Plain Celery


def plain_celery(here: Lab, pool: str, concurrency: int, flow_ms: int, repeats: int, count: int) -> Row:
    _, broker = here.broker()
    _, flows = here.flows(flow_ms)
    env = {"REDIS_URL": broker, "FLOWISE_BASE_URL": flows}
    command = [sys.executable, "-m", "celery", "-A", NAIVE, "worker", "-P", pool]
    worker = here.part(f"celery-{pool}", [*command, "-c", str(concurrency), "-l", "WARNING"], env)
    with environment(env), ThreadPoolExecutor(concurrency) as callers:
        from celery import chain

        # Its app reads the broker's address when it is imported, and every row has a broker of its own.
        sys.modules.pop(NAIVE, None)
        naive = importlib.import_module(NAIVE)

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
    row = summary(f"celery-{pool}", flow_ms, runs, cpu, **added, rss_mb=round(worker.rss_mb(), 1))
    here.stop(worker)
    return row


# Ours


Work = Callable[[Any], Awaitable[Row]]


def with_producer(env: dict[str, str], work: Work) -> Row:
    with environment(env):
        from producer import AsyncProducer

        async def run() -> Row:
            async with AsyncProducer() as producer:
                return await work(producer)

        return uvloop.run(run())


def flywheel(here: Lab, workers: int, flow_ms: int, repeats: int, count: int) -> Row:
    _, broker = here.broker()
    _, flows = here.flows(flow_ms)
    env = here.environment(broker, flows)
    with environment(env):
        running = [here.worker(f"flywheel-{workers}-{n}", dict(os.environ)) for n in range(workers)]

    async def work(producer: Any) -> Row:
        async def ask(number: int) -> object:
            return await producer.ask(question(number), wait=60)

        await closed_loop(ask, count=2000, at_once=500)
        runs, cpu = [], []
        for _ in range(repeats):
            before = sum(each.cpu_seconds() for each in running)
            runs.append(await closed_loop(ask, count=count, at_once=1200))
            cpu.append((sum(each.cpu_seconds() for each in running) - before) * 1000 / count)
        added = await latency(ask, flow_ms)
        rss = round(sum(each.rss_mb() for each in running), 1)
        return summary(f"flywheel-{workers}", flow_ms, runs, cpu, **added, rss_mb=rss)

    row = with_producer(env, work)
    here.stop(*running)
    return row


def one_stack(here: Lab, flow_ms: int, *, concurrency: int = 2000) -> tuple[dict[str, str], str, Part]:
    _, broker = here.broker()
    _, flows = here.flows(flow_ms)
    env = here.environment(broker, flows)
    with environment(env):
        worker = here.worker(f"worker-{next(_fresh)}", dict(os.environ), concurrency=concurrency)
    return env, flows, worker


def cache_hits(here: Lab, repeats: int) -> Row:
    env, _, worker = one_stack(here, 1)

    async def work(producer: Any) -> Row:
        asked = [question(number) for number in range(200)]
        for each in asked:
            await producer.ask(each, wait=30)

        async def ask(number: int) -> object:
            answer = await producer.ask(asked[number % len(asked)])
            assert answer.cached, "not a hit"
            return answer

        p50 = []
        for number in range(1000):
            start = time.perf_counter()
            await ask(number)
            p50.append((time.perf_counter() - start) * 1000)
        runs = [await closed_loop(ask, count=10_000, at_once=64) for _ in range(repeats)]
        return {"name": "cache-hits", "queries_per_s": round(median(runs), 1), "p50_ms": round(quantile(p50, 0.5), 3)}

    row = with_producer(env, work)
    here.stop(worker)
    return row


def submissions(here: Lab, repeats: int) -> Row:
    _, broker = here.broker()
    env = here.environment(broker, "http://127.0.0.1:9")

    async def work(producer: Any) -> Row:
        async def submit(number: int) -> object:
            return await producer.submit(question(number))

        await closed_loop(submit, count=2000, at_once=64)
        runs, cpu = [], []
        for _ in range(repeats):
            before = time.process_time()
            runs.append(await closed_loop(submit, count=20_000, at_once=128))
            cpu.append((time.process_time() - before) * 1000 / 20_000)
        return {
            "name": "submissions",
            "queries_per_s": round(median(runs), 1),
            "producer_cpu_ms_per_query": round(median(cpu), 3),
        }

    return with_producer(env, work)


def identical(here: Lab) -> Row:
    env, flows, worker = one_stack(here, 200)

    async def work(producer: Any) -> Row:
        await producer.ask(question(0), wait=30)
        before, asked = flow_calls(flows), question(1)
        start = time.perf_counter()
        answers = await asyncio.gather(*(producer.ask(asked, wait=30) for _ in range(1000)))
        seconds = time.perf_counter() - start
        return {
            "name": "identical-1000",
            "queries_per_s": round(1000 / seconds, 1),
            "flow_calls": flow_calls(flows) - before,
            "answers": len({answer.query_id for answer in answers}),
            "elapsed_ms": round(seconds * 1000, 1),
        }

    row = with_producer(env, work)
    here.stop(worker)
    return row


def in_flight(here: Lab, count: int = 5000) -> Row:
    env, _, worker = one_stack(here, 8000, concurrency=2 * count)

    async def work(producer: Any) -> Row:
        idle = worker.rss_mb()
        start = time.perf_counter()
        waiting = [asyncio.create_task(producer.ask(question(number), wait=120)) for number in range(count)]
        peak = 0.0
        while not all(task.done() for task in waiting):
            peak = max(peak, worker.rss_mb())
            await asyncio.sleep(0.25)
        for task in waiting:
            task.result()
        seconds = time.perf_counter() - start
        return {
            "name": f"in-flight-{count}",
            "queries_per_s": round(count / seconds, 1),
            "rss_mb": round(peak, 1),
            "idle_rss_mb": round(idle, 1),
        }

    row = with_producer(env, work)
    here.stop(worker)
    return row


def queued(here: Lab, count: int) -> Row:
    _, broker = here.broker()
    _, flows = here.flows(0)
    env = here.environment(broker, flows)
    client = redis.Redis.from_url(broker)

    async def work(producer: Any) -> Row:
        before = client.info("memory")["used_memory"]

        async def submit(number: int) -> object:
            return await producer.submit(question(number))

        rate = await closed_loop(submit, count=count, at_once=128)
        each = (client.info("memory")["used_memory"] - before) / count
        with environment(env):
            workers = [here.worker(f"drain-{n}", dict(os.environ)) for n in range(2)]
        start, at_start = time.perf_counter(), _under_way(client)
        await asyncio.to_thread(wait_until, lambda: _under_way(client) <= 0, seconds=3600, what="the queue to drain")
        drained = at_start / (time.perf_counter() - start)
        here.stop(*workers)
        return {
            "name": f"queued-{count}",
            "queries_per_s": round(rate, 1),
            "drained_per_s": round(drained, 1),
            "redis_bytes_per_query": round(each),
        }

    return with_producer(env, work)


def _under_way(client: redis.Redis) -> int:
    return int(client.hget("flywheel:load", "*") or 0)


def fan_out(here: Lab, repeats: int) -> Row:
    env, _, worker = one_stack(here, 200)

    async def work(producer: Any) -> Row:
        added, domains = [], set()
        for number in range(20 * repeats):
            asked = (
                f"[sleep 200] Which database index does the join of case {next(_fresh)}-{number} need? "
                "Which clause of the contract covers liability? And help me imagine a story about it"
            )
            start = time.perf_counter()
            answer = await producer.ask(asked, wait=30)
            added.append((time.perf_counter() - start) * 1000 - 200)
            domains.add(answer.domains)
        widest = max(map(len, domains))
        return {
            "name": f"fan-out-{widest}",
            "queries_per_s": round(1000 / (median(added) + 200), 1),
            "added_p50_ms": round(median(added), 2),
            "added_p99_ms": round(quantile(added, 0.99), 2),
        }

    row = with_producer(env, work)
    here.stop(worker)
    return row


def groups(repeats: int, quick: bool) -> dict[str, list[Callable[[Lab], Row]]]:
    count = 2000 if quick else 8000
    few = 400 if quick else 2000
    million = 20_000 if quick else 1_000_000
    return {
        f"{flow_ms} ms flows": [
            lambda here, ms=flow_ms: raw_limit(here, ms, repeats, count),  # type: ignore[misc]
            lambda here, ms=flow_ms: plain_celery(here, "prefork", 8, ms, repeats, few // 4),  # type: ignore[misc]
            lambda here, ms=flow_ms: plain_celery(here, "threads", 200, ms, repeats, few),  # type: ignore[misc]
            lambda here, ms=flow_ms: flywheel(here, 1, ms, repeats, count),  # type: ignore[misc]
            lambda here, ms=flow_ms: flywheel(here, 2, ms, repeats, count),  # type: ignore[misc]
        ]
        for flow_ms in (200, 0)
    } | {
        "beside the flows": [
            lambda here: submissions(here, repeats),
            lambda here: cache_hits(here, repeats),
            lambda here: identical(here),
            lambda here: in_flight(here, 1000 if quick else 5000),
            lambda here: queued(here, million),
            lambda here: fan_out(here, repeats),
        ]
    }


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--json", action="store_true", help="one JSON object per row")
    asked.add_argument("--repeats", type=int, default=3)
    asked.add_argument("--quick", action="store_true", help="a tenth of the load: a look, not a result")
    asked.add_argument("--only", default="", help="groups to run: numbers from 1, comma separated, e.g. 1,3")
    given = asked.parse_args()
    wanted = {int(number) - 1 for number in given.only.split(",") if number}
    console = Console(stderr=given.json)
    for index, (title, rows) in enumerate(groups(given.repeats, given.quick).items()):
        if wanted and index not in wanted:
            continue
        first: Row | None = None
        done: list[Row] = []
        for measure in rows:
            with lab() as here:
                row = measure(here)
            first = first or row
            row["ratio"] = round(row["queries_per_s"] / first["queries_per_s"], 3)
            done.append(row)
            if given.json:
                sys.stdout.write(json.dumps(row) + "\n")
                sys.stdout.flush()
            else:
                console.print(f"[dim]{row['name']} done[/dim]")
        if not given.json:
            console.print(table(title, done))


def table(title: str, rows: list[Row]) -> Table:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    drawn = Table(title=title)
    for column in columns:
        drawn.add_column(column.replace("_", " "), justify="left" if column == "name" else "right", overflow="fold")
    for row in rows:
        drawn.add_row(*(str(row.get(column, "")) for column in columns))
    return drawn


if __name__ == "__main__":
    main()
