"""What nobody waits for is handed to the hub together with others; what somebody waits for at once."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from processes import wait_for

from workers.engine.handover import Handover
from workers.engine.job import Job
from workers.engine.link import wait_in_kernel
from workers.engine.loops import LoopThread
from workers.engine.tracer import TaskRun


class Hub:
    """Counts how often it is woken, and calls at once."""

    woken = 0

    def call_soon(self, call: Callable[[], Any]) -> None:
        self.woken += 1
        call()


def test_what_nobody_waits_for_wakes_the_hub_once() -> None:
    loop, hub, done, after = LoopThread(), Hub(), list[int](), list[int]()
    loop.start()
    try:
        handover = Handover(hub, loop.loop, after_gathered=lambda: after.append(len(done)))

        def gather() -> None:
            for number in range(5):
                handover.to_hub_in_company(lambda number=number: done.append(number))  # type: ignore[misc]

        loop.loop.call_soon_threadsafe(gather)
        wait_for(lambda: after)
        assert (done, after, hub.woken) == ([0, 1, 2, 3, 4], [5], 1)

        loop.loop.call_soon_threadsafe(gather)
        wait_for(lambda: len(after) == 2)
        assert (len(done), hub.woken) == (10, 2)
    finally:
        loop.stop()


def test_a_stopping_worker_does_not_wait_for_company() -> None:
    loop, done = LoopThread(), list[int]()
    handover = Handover(Hub(), loop.loop)
    handover.to_hub_in_company(lambda: done.append(1))

    handover.run_all_on_hub()

    assert done == [1]
    loop.loop.close()


class Told:
    """Notes whether a job's end was handed over at once or with others."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.how: asyncio.Future[str] = self.loop.create_future()

    def to_hub(self, call: Callable[[], object]) -> None:
        self.how.set_result("at once")

    def to_hub_in_company(self, call: Callable[[], object]) -> None:
        self.how.set_result("with others")


async def end_of_job(*, hurries: bool = False, fails: bool = False, stores: bool = False, **context: Any) -> str:
    """Run a task's coroutine as a job and return how its end was handed over."""

    async def body() -> None:
        if fails:
            raise LookupError("planted")

    told = Told()
    tracer: Any = SimpleNamespace(task=SimpleNamespace(body=body))
    job = Job(None, tracer, handover=told, on_end=lambda _: None, hurries=lambda: hurries)  # type: ignore[arg-type]
    job.task_run = TaskRun("t-1", (), {}, shown=False)
    job.task_run.publish_result = stores
    job.task_run.context = SimpleNamespace(**{"callbacks": None, "chain": None, "chord": None, **context})
    job.start()
    return await told.how


async def test_an_end_after_which_only_an_acknowledgement_follows_waits_for_others() -> None:
    assert await end_of_job() == "with others"


@pytest.mark.parametrize(
    "awaited",
    [
        pytest.param({"stores": True}, id="a result"),
        pytest.param({"callbacks": ["next"]}, id="a callback"),
        pytest.param({"chain": ["next"]}, id="the next task of a chain"),
        pytest.param({"chord": {"task": "next"}}, id="the body of a chord"),
        pytest.param({"fails": True}, id="a failure, which may be a retry"),
        pytest.param({"hurries": True}, id="its place"),
    ],
)
async def test_an_end_for_which_somebody_waits_is_told_at_once(awaited: dict[str, Any]) -> None:
    assert await end_of_job(**awaited) == "at once"


def test_a_socket_that_waits_in_the_kernel_is_given_up_in_time() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wait_in_kernel(SimpleNamespace(_sock=ours, socket_timeout=0.2))
        began = time.monotonic()

        with pytest.raises(BlockingIOError):
            ours.recv(1)
        assert 0.1 < time.monotonic() - began < 10
        with pytest.raises(BlockingIOError):
            ours.sendall(bytes(10_000_000))
