from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from workers.engine.loops import LoopThread


@pytest.fixture
def tasks() -> Iterator[LoopThread]:
    thread = LoopThread()
    thread._thread.start()
    yield thread
    thread.stop()


async def where() -> int:
    await asyncio.sleep(0)
    return threading.get_ident()


def test_a_loop_runs_in_its_own_thread_and_while_borrowed_in_the_borrowers(tasks: LoopThread) -> None:
    own = tasks.submit(where()).result(5)
    with tasks.borrowed():
        borrowed = tasks.submit(where()).result(5)
    returned = tasks.submit(where()).result(5)

    assert own == returned != threading.get_ident()
    assert borrowed == threading.get_ident()


def test_what_was_begun_before_goes_on_while_the_loop_is_borrowed(tasks: LoopThread) -> None:
    async def slowly() -> int:
        await asyncio.sleep(0.05)
        return await where()

    begun = tasks.submit(slowly())
    with tasks.borrowed():
        until = time.monotonic() + 5
        while not begun.done() and time.monotonic() < until:
            tasks.run_for(0.02)

    assert begun.result(0) == threading.get_ident()


def test_a_borrowed_loop_pauses_when_a_task_asks_for_it(tasks: LoopThread) -> None:
    with tasks.borrowed():
        began = time.monotonic()
        tasks.call_soon(tasks.pause)
        tasks.run_for(30)

    assert time.monotonic() - began < 10


def test_a_task_that_calls_for_the_end_of_the_process_ends_only_itself(tasks: LoopThread) -> None:
    async def end() -> None:
        raise SystemExit(3)

    with tasks.borrowed():
        ended = tasks.submit(end())
        after = tasks.submit(where()).result(5)

    assert isinstance(ended.exception(5), SystemExit)
    assert after == threading.get_ident()
