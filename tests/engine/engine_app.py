"""The app that the engine's tests run: one task for each thing a Celery task may do."""

from __future__ import annotations

import asyncio
import json
import os
import time
from datetime import timedelta
from typing import Any

import redis
from celery import Celery, chord, group, signals
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from pydantic import BaseModel

from agentic_flywheel.broker import versions
from workers.engine import AsyncTask, configure, on_loop_shutdown, on_loop_start
from workers.engine.envelope import Whose
from workers.engine.intake import Intake

SETTINGS: dict[str, Any] = {"broker": "", **json.loads(os.environ.get("ENGINE_APP", "{}"))}


def note_unreadable(whose: Whose, tag: str, reason: str) -> None:
    marks.rpush("unreadable", f"{whose.task_id}: {reason}")
    if SETTINGS.get("hook_fails"):
        raise LookupError("planted")


def make_app(broker: str, *, visibility: float = 6.0, grace: float | None = None) -> Celery:
    app = Celery("engine_app")
    configure(
        app,
        broker_url=broker,
        visibility_timeout=timedelta(seconds=visibility),
        grace=None if grace is None else timedelta(seconds=grace),
        on_unreadable=note_unreadable,
    )
    app.conf.update(result_expires=600, task_track_started=True)
    return app


app = make_app(
    SETTINGS["broker"],
    visibility=SETTINGS.get("visibility", 6.0),
    grace=SETTINGS.get("grace"),
)
app.conf.update(SETTINGS.get("conf", {}))
#: Where tasks leave their marks: a server of its own in tests that kill the broker.
marks = redis.Redis.from_url(
    SETTINGS.get("marks", SETTINGS["broker"]) or "redis://127.0.0.1:1/0", decode_responses=True
)
opened: list[str] = []
hubs: list[Any] = []


@on_loop_start
async def open_session() -> None:
    opened.append("session")


@on_loop_shutdown
async def close_session() -> None:
    marks.rpush("closed", "session")


if SETTINGS.get("faults"):
    take_turn = Intake.tick

    def tick(intake: Intake) -> None:
        """Fail as a fault of ours would, as often as there are marks."""
        hubs[:] = [intake._hub]
        if marks.lpop("faults"):
            raise LookupError("planted in the hub's turn")
        take_turn(intake)

    Intake.tick = tick  # type: ignore[assignment, method-assign]

if SETTINGS.get("oldest_server"):
    versions.OLDEST_SERVER = SETTINGS["oldest_server"]

if SETTINGS.get("signals"):

    @signals.task_prerun.connect
    def before(task_id: str, **_: Any) -> None:
        marks.rpush(f"signals:{task_id}", "prerun")

    @signals.task_postrun.connect
    def after(task_id: str, state: str, **_: Any) -> None:
        marks.rpush(f"signals:{task_id}", f"postrun {state}")


@app.task
async def add(a: int, b: int, seconds: float = 0.0) -> int:
    await asyncio.sleep(seconds)
    return a + b


@app.task
def ticks() -> int:
    """How many callbacks the hub calls in each turn."""
    return len(hubs[-1].on_tick)


@app.task
async def show(value: Any) -> str:
    return repr(value)


@app.task
def plain_add(a: int, b: int) -> int:
    return a + b


@app.task
async def what_was_opened() -> list[str]:
    return opened


@app.task(bind=True)
async def who(self: Any, seconds: float) -> list[str]:
    """Ids as seen before and after an await, and through Celery's current task."""
    from celery import current_task

    before_await = self.request.id
    await asyncio.sleep(seconds)
    return [before_await, self.request.id, current_task.request.id]


@app.task
async def fail() -> None:
    await asyncio.sleep(0)
    raise ValueError("boom")


@app.task
async def error_seen(task_id: str) -> None:
    marks.rpush("errors", task_id)


@app.task(bind=True, max_retries=3)
async def retry_twice(self: Any) -> int:
    if self.request.retries < 2:
        raise self.retry(exc=KeyError("again"), countdown=0.01)
    return int(self.request.retries)


@app.task(bind=True, max_retries=1)
async def retry_for_ever(self: Any) -> None:
    raise self.retry(exc=KeyError("never"), countdown=0.01)


@app.task(bind=True, autoretry_for=(OSError,), retry_kwargs={"max_retries": 2, "countdown": 0.01})
async def retried_by_error(self: Any) -> int:
    if self.request.retries < 2:
        raise OSError("away")
    return int(self.request.retries)


@app.task(soft_time_limit=0.2)
async def cleans_up() -> str:
    try:
        await asyncio.sleep(5)
    except SoftTimeLimitExceeded:
        await asyncio.sleep(0.01)
        return "cleaned"
    return "not interrupted"


@app.task(soft_time_limit=0.1, time_limit=0.3)
async def ignores_limits() -> None:
    try:
        await asyncio.sleep(5)
    except SoftTimeLimitExceeded:
        await asyncio.sleep(5)


@app.task
async def long(seconds: float) -> str:
    marks.rpush("long", "started")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        marks.rpush("long", "cancelled")
        raise
    return "slept"


@app.task
async def reject(requeue: bool = False) -> None:
    raise Reject("no", requeue=requeue)


@app.task
async def ignore() -> None:
    raise Ignore


@app.task
async def exhaust_memory() -> None:
    raise MemoryError


@app.task
async def leave() -> None:
    raise SystemExit(3)


@app.task
def plain_leave() -> None:
    raise SystemExit(3)


class Hooked(AsyncTask):
    """Leaves a mark in each hook that Celery calls around a task."""

    abstract = True

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        marks.rpush(f"hooks:{task_id}", "before_start")
        if args == ["refuse"]:
            raise LookupError("refused")

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        marks.rpush(f"hooks:{task_id}", "on_success")
        raise RuntimeError("a hook's error changes nothing")

    def on_failure(self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        marks.rpush(f"hooks:{task_id}", f"on_failure {type(exc).__name__}")

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        marks.rpush(f"hooks:{task_id}", f"after_return {status}")


@app.task(base=Hooked, bind=True)
async def hooked(self: Any, word: str) -> str:
    marks.rpush(f"hooks:{self.request.id}", "body")
    return word


@app.task
async def unreadable() -> object:
    return object()


class Number(BaseModel):
    value: int


@app.task(pydantic=True)
async def increment(number: Number) -> Number:
    return Number(value=number.value + 1)


@app.task(bind=True)
def lineage(self: Any) -> list[str | None]:
    return [self.request.id, self.request.parent_id, self.request.root_id]


@app.task(bind=True)
async def parent(self: Any) -> list[str]:
    await asyncio.sleep(0)
    return [self.request.id, lineage.delay().id]


@app.task(bind=True)
async def replaced(self: Any, a: int, b: int) -> None:
    await asyncio.sleep(0)
    self.replace(add.s(a, b))


@app.task(bind=True)
async def replaced_by_chord(self: Any, count: int) -> None:
    await asyncio.sleep(0)
    self.replace(chord(group(add.s(number, number) for number in range(count)), total.s()))


@app.task
async def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task
async def mark(number: int, seconds: float) -> int:
    """Leave a mark when started and when done."""
    name = f"{number} {SETTINGS.get('name', '')}"
    marks.rpush("started", name)
    await asyncio.sleep(seconds)
    marks.rpush("done", name)
    return number


@app.task
def plain_mark(number: int, seconds: float) -> int:
    marks.rpush("started", number)
    time.sleep(seconds)
    marks.rpush("done", number)
    return number
