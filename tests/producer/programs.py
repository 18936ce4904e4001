"""Programs that use a producer as users do, each run as a process of its own: ``python programs.py NAME``.

They find their house by the environment and print what the test looks for.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from agentic_flywheel.errors import FlywheelError
from producer import AsyncProducer, Producer
from producer.background_loop import BackgroundLoop


def question(number: object) -> str:
    return f"Which index does database query {number} need in python?"


def told(call: Callable[[], Any]) -> str:
    try:
        return str(call())
    except FlywheelError as error:
        return type(error).__name__


def forks() -> None:
    """A connected producer in children of `os.fork` and of multiprocessing, then again in the parent."""
    producer = Producer()
    print("parent", producer.ask(question("parent"), wait=20).flow)
    if os.fork() == 0:
        print("child", producer.ask(question("child"), wait=20).flow, flush=True)
        sys.exit(0)
    _, status = os.wait()
    print("exit", status)
    if os.fork() == 0:
        sys.exit(0)  # without a call: what it collects at its end must not disturb the parent
    os.wait()
    shared.append(producer)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print("pool", pool.map(ask_shared, range(4)))
    print("again", producer.ask(question("again"), wait=20).flow)


#: A producer cannot be pickled: a pool's children have it from their parent.
shared: list[Producer] = []


def ask_shared(number: int) -> str:
    return shared[0].ask(question(f"pool {number}"), wait=20).flow


def forks_while_busy() -> None:
    """Forks while threads of the parent ask: whatever they hold at that moment must not stop the child."""
    producer = Producer()
    stop = threading.Event()
    failures: list[BaseException] = []

    def asks(number: int) -> None:
        count = 0
        while not stop.is_set():
            count += 1
            try:
                producer.ask(question(f"{number}-{count}"), wait=20)
            except BaseException as failure:
                failures.append(failure)
                return

    threads = [threading.Thread(target=asks, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    ended = []
    for number in range(10):
        if os.fork() == 0:
            answer = told(lambda: producer.ask(question(f"child {number}"), wait=20).flow)  # noqa: B023
            os._exit(0 if answer == "technical-analysis" else 1)
        ended.append(os.wait()[1])
    stop.set()
    for thread in threads:
        thread.join()
    producer.close()
    print("children", ended, "failures", failures)


def forks_amid_a_step() -> None:
    """A fork waits for the step of the producer's thread that holds a lock."""
    work, lock, locked = BackgroundLoop(), threading.Lock(), threading.Event()

    async def hold() -> None:
        with lock:
            locked.set()
            time.sleep(0.5)

    thread = threading.Thread(target=lambda: work.run(hold()))
    thread.start()
    locked.wait()
    if os.fork() == 0:
        os._exit(0 if lock.acquire(timeout=1) else 1)
    print("child", os.wait()[1])
    thread.join()


def forks_amid_a_stream() -> None:
    """A child reads on where its parent's stream was."""
    producer = Producer()
    events = producer.stream(producer.submit(question("stream")).query_id)
    kinds = [next(events).kind]
    if os.fork() == 0:
        print("child", [*kinds, *(event.kind for event in events)][-1], flush=True)
        os._exit(0)
    os.wait()
    print("parent", [*kinds, *(event.kind for event in events)][-1])


def async_forks() -> None:
    """An AsyncProducer on one loop after another, and on a loop of a forked child."""
    producer = AsyncProducer()

    async def ask(number: object) -> str:
        return (await producer.ask(question(number), wait=20)).flow

    print("first", asyncio.run(ask(1)))
    print("second", asyncio.run(ask(2)))
    if os.fork() == 0:
        print("child", asyncio.run(ask(3)), flush=True)
        os._exit(0)
    os.wait()

    async def from_two_loops() -> str:
        await producer.recent()
        return await asyncio.to_thread(told, lambda: asyncio.run(ask(4)))

    print("two at once", asyncio.run(from_two_loops()))


def threads() -> None:
    """Sixteen threads ask through one producer; it is closed twice, and used once more."""
    producer = Producer()
    with ThreadPoolExecutor(16) as pool:
        flows = list(pool.map(lambda number: producer.ask(question(f"t{number}"), wait=20).flow, range(64)))
    print("answers", len(flows), set(flows))
    waiting = threading.Thread(target=lambda: print("waited", told(lambda: producer.wait(slow, 30))))
    slow = producer.submit("Is the narrow flow slow?", flow="narrow").query_id
    waiting.start()
    time.sleep(0.5)
    producer.close()
    producer.close()
    waiting.join(10)
    print("hangs", waiting.is_alive())
    late: list[Callable[[], Any]] = [
        producer.recent,
        lambda: producer.ask("Late?"),
        lambda: list(producer.stream("a")),
    ]
    print("closed", [told(call) for call in late])


def forgotten() -> None:
    """A producer that nobody closes ends its thread when it is collected, and with the interpreter."""
    producer: Producer | None = Producer()
    assert producer is not None
    producer.recent()
    before = threading.active_count()
    producer = None
    gc.collect()
    print("threads", before - threading.active_count())
    left = Producer()
    left.recent()
    globals()["left"] = left
    threading.Thread(
        target=lambda: told(lambda: left.wait(left.submit("Slow?", flow="narrow").query_id)), daemon=True
    ).start()
    time.sleep(0.5)
    print("leaving")


def on_a_loop() -> None:
    """A Producer in code that runs on an event loop, as in a notebook: it blocks that loop, and works."""

    async def cell() -> None:
        with Producer() as producer:
            print("answer", producer.ask(question("cell"), wait=20).flow)

    asyncio.run(cell())


def dead_broker() -> None:
    """``wait`` is kept where nothing answers; REDIS_URL is a port that is silent."""
    for wait in (0.2, 1.5):
        producer, began = Producer(), time.monotonic()
        said = told(lambda: producer.ask("Anybody?", wait=wait))  # noqa: B023
        print(said, time.monotonic() - began < wait + 5)


def gevent_threads() -> None:
    from gevent import monkey  # type: ignore[import-not-found,import-untyped,unused-ignore]

    monkey.patch_all()
    try:
        Producer()
    except FlywheelError as error:
        print(type(error).__name__, error)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
