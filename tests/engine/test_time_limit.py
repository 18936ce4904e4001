"""A time limit of ours does what ``asyncio.timeout`` does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from agentic_flywheel.time_limit import TimeLimit

Reschedule = Callable[[float | None], None]
Body = Callable[[Reschedule], Awaitable[None]]
Limited = Callable[[float | None], contextlib.AbstractAsyncContextManager[Reschedule]]


@contextlib.asynccontextmanager
async def ours(seconds: float | None) -> AsyncIterator[Reschedule]:
    loop = asyncio.get_running_loop()
    with TimeLimit(loop, None if seconds is None else loop.time() + seconds) as limit:
        yield limit.reschedule


@contextlib.asynccontextmanager
async def asyncios(seconds: float | None) -> AsyncIterator[Reschedule]:
    async with asyncio.timeout(seconds) as limit:
        yield limit.reschedule


async def passes(_: Reschedule) -> None:
    await asyncio.sleep(0)


async def lasts(_: Reschedule) -> None:
    await asyncio.sleep(60)


async def fails(_: Reschedule) -> None:
    raise LookupError


async def is_cut_sooner(reschedule: Reschedule) -> None:
    reschedule(asyncio.get_running_loop().time() + 0.01)
    await asyncio.sleep(60)


async def is_no_longer_cut(reschedule: Reschedule) -> None:
    reschedule(None)
    await asyncio.sleep(0.1)


async def is_cancelled_by_another(_: Reschedule) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_soon(task.cancel)
    await asyncio.sleep(60)


@pytest.mark.parametrize("limited", [ours, asyncios])
@pytest.mark.parametrize(
    ("body", "seconds", "end"),
    [
        (passes, 30, "None"),
        (passes, None, "None"),
        (lasts, 0.01, "TimeoutError()"),
        (lasts, -1, "TimeoutError()"),
        (fails, 30, "LookupError()"),
        (is_cut_sooner, 30, "TimeoutError()"),
        (is_cut_sooner, None, "TimeoutError()"),
        (is_no_longer_cut, 0.05, "None"),
        (is_cancelled_by_another, 30, "cancelled"),
    ],
)
async def test_a_time_limit_ends_as_asyncios_does(
    limited: Limited, body: Body, seconds: float | None, end: str
) -> None:
    async def work() -> None:
        async with limited(seconds) as reschedule:
            await body(reschedule)

    task = asyncio.create_task(work())
    await asyncio.wait([task])

    assert ("cancelled" if task.cancelled() else repr(task.exception())) == end
    assert task.cancelling() == (1 if end == "cancelled" else 0)


async def test_what_has_ended_is_not_cut() -> None:
    loop = asyncio.get_running_loop()
    with TimeLimit(loop, loop.time() + 30) as limit:
        pass
    limit.reschedule(loop.time())

    await asyncio.sleep(0.05)
