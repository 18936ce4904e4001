"""Put load on a pipeline and measure it: a closed loop for throughput, an open one for latency."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

Ask = Callable[[int], Awaitable[object]]


def quantile(values: list[float], share: float) -> float:
    """Return the value below which ``share`` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


async def closed_loop(ask: Ask, *, count: int, at_once: int) -> float:
    """Keep ``at_once`` questions under way until ``count`` are answered; return answers per second."""
    numbers = iter(range(count))

    async def client() -> None:
        for number in numbers:
            await ask(number)

    start = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(at_once)))
    return count / (time.perf_counter() - start)


async def open_loop(ask: Ask, *, per_second: float, seconds: float, flow_ms: float) -> list[float]:
    """Send questions at a fixed rate, whatever the answers do; return the added milliseconds of each."""
    added: list[float] = []

    async def one(number: int) -> None:
        start = time.perf_counter()
        await ask(number)
        added.append((time.perf_counter() - start) * 1000 - flow_ms)

    start, tasks = time.perf_counter(), []
    for number in range(int(per_second * seconds)):
        early = start + number / per_second - time.perf_counter()
        if early > 0:
            await asyncio.sleep(early)
        tasks.append(asyncio.create_task(one(number)))
    await asyncio.gather(*tasks)
    return added


async def taken_ms(ask: Ask, *, count: int) -> list[float]:
    """Ask one question after another; return the milliseconds of each."""
    taken = []
    for number in range(count):
        start = time.perf_counter()
        await ask(number)
        taken.append((time.perf_counter() - start) * 1000)
    return taken


def median(values: list[float]) -> float:
    return statistics.median(values)
