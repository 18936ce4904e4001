"""Queries with traced steps, run in this process at a fixed rate, and what their recording takes."""

from __future__ import annotations

import asyncio
import gc
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentic_flywheel.models import Record
from agentic_flywheel.settings import Settings
from agentic_flywheel.tracing import Tracer
from benchmarks.lab.measure import quantile
from benchmarks.lab.traced_steps import PUBLIC_KEY, SECRET_KEY, Steps, ended_query, with_our_tracer, with_the_sdk

#: The row that only records, and its queries per second.
FLOOD = "2000/s"
FLOOD_RATE = 2000
#: Calls at once; at the usual rates there is always a free connection.
CONNECTIONS = 64
#: What a call sends and gets back.
MESSAGE = b"x" * 511 + b"\n"


async def flood(first: Steps, second: Steps, seconds: float) -> tuple[list[float], list[float], int]:
    """Record at ``FLOOD_RATE`` and nothing else. Returns the same as ``run_queries``."""
    records = [ended_query() for _ in range(int(FLOOD_RATE * seconds))]
    recording: list[float] = []
    began = time.perf_counter()
    while len(recording) < len(records):
        elapsed = time.perf_counter() - began
        for record in records[len(recording) : int(elapsed * FLOOD_RATE)]:
            before = time.perf_counter()
            first(record)
            second(record)
            recording.append(time.perf_counter() - before)
        await asyncio.sleep(0.001)
    return recording, recording, len(recording)


async def run_queries(
    first: Steps, second: Steps, rate: float, seconds: float, called: int
) -> tuple[list[float], list[float], int]:
    """Return per query how long it took, how much of that was spent recording, and how many ran.

    ``called`` is the port of the server that the queries call.
    """
    taken: list[float] = []
    recording: list[float] = []
    free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        free.put_nowait(await asyncio.open_connection("127.0.0.1", called))

    async def query(record: Record) -> None:
        reader, writer = await free.get()
        began = time.perf_counter()
        writer.write(MESSAGE)
        await reader.readline()
        before = time.perf_counter()
        first(record)
        middle = time.perf_counter()
        writer.write(MESSAGE)
        await reader.readline()
        after = time.perf_counter()
        second(record)
        ended = time.perf_counter()
        taken.append(ended - began)
        recording.append(middle - before + ended - after)
        free.put_nowait((reader, writer))

    tasks: set[asyncio.Task[None]] = set()
    records = [ended_query() for _ in range(int(rate * seconds))]
    began, started = time.perf_counter(), 0
    while started < len(records):
        for record in records[started : int((time.perf_counter() - began) * rate)]:
            task = asyncio.create_task(query(record))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            started += 1
        await asyncio.sleep(0.001)
    await asyncio.gather(*tasks)
    while not free.empty():
        free.get_nowait()[1].close()
    return taken, recording, started


def answer_calls() -> None:
    """Serve what queries call: send every line back. Say the port first."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    async def serve() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    asyncio.run(serve())


def measure(row: str, url: str, rate: float, seconds: float, called: int) -> dict[str, float]:
    """Run one row in this process."""
    tracer = None
    with tempfile.TemporaryDirectory() as home:
        shut_down: Callable[[], Any]
        if row == "sdk":
            first, second, shut_down = with_the_sdk(url)
        else:
            settings = Settings(
                home=Path(home),
                tracing_enabled=row != "off",
                langfuse_base_url=url or None,
                langfuse_public_key=PUBLIC_KEY if url else None,
                langfuse_secret_key=SECRET_KEY if url else None,
            )
            tracer = Tracer.from_settings(settings)
            (first, second), shut_down = with_our_tracer(tracer), tracer.close
        asyncio.run(run_queries(first, second, 50, 1.0, called))
        gc.collect()
        cpu = time.process_time()
        run = flood(first, second, seconds) if row == FLOOD else run_queries(first, second, rate, seconds, called)
        taken, recording, started = asyncio.run(run)
        cpu = time.process_time() - cpu
        closing = time.perf_counter()
        shut_down()
        closing = time.perf_counter() - closing
    return {
        "queries": started,
        "p50_ms": quantile(taken, 0.50) * 1000,
        "p99_ms": quantile(taken, 0.99) * 1000,
        "recording_p50_ms": quantile(recording, 0.50) * 1000,
        "recording_p99_ms": quantile(recording, 0.99) * 1000,
        "total_cpu_ms": cpu * 1000 / started,
        "dropped": tracer.counts.dropped if tracer else 0,
        "close_s": closing,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
