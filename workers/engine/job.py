"""One task in the pool: a coroutine on the loop, with its time limits, or a plain function in a thread."""

from __future__ import annotations

import asyncio
import contextvars
import enum
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded

from workers.engine.handover import Handover
from workers.engine.task import BodyResult
from workers.engine.tracer import TaskRun, TaskTracer

#: The context for callbacks that must not see the variables of any task.
_NEUTRAL = contextvars.Context()


class Fate(enum.Enum):
    """Why the result of a job no longer counts."""

    NONE = "none"
    #: It was asked to stop, by a revoke or by a cold shutdown, and Celery has announced that.
    TERMINATED = "terminated"
    #: It passed its hard time limit, and Celery has recorded the failure.
    TIMED_OUT = "timed out"
    #: Its message is back in its queue.
    HANDED_BACK = "handed back"


class Job:
    """What a pool returns for a task. Celery's request keeps a weak reference to it and may terminate it."""

    __slots__ = (
        "__weakref__",
        "_handover",
        "_hurries",
        "_on_end",
        "_soft",
        "_timers",
        "asyncio_task",
        "body_result",
        "call",
        "context",
        "fate",
        "hard_limit",
        "request",
        "soft_limit",
        "task_run",
        "tracer",
    )

    def __init__(
        self,
        request: Any,
        tracer: TaskTracer | None,
        *,
        handover: Handover,
        on_end: Callable[[Job], None],
        hurries: Callable[[], bool],
        call: Callable[[], Any] | None = None,
        soft_limit: float | None = None,
        hard_limit: float | None = None,
    ) -> None:
        """``tracer`` is that of a coroutine task; a plain one has ``call`` instead. Limits are seconds.

        ``on_end`` is called on the hub's thread when a coroutine has ended: at once, or together with others where
        nobody waits for this end. ``hurries`` says whether others wait for its place.
        """
        self.request, self.tracer, self.call = request, tracer, call
        self._handover, self._on_end, self._hurries = handover, on_end, hurries
        self.soft_limit, self.hard_limit = soft_limit, hard_limit
        self.fate = Fate.NONE
        self.body_result: BodyResult | None = None
        self.context = contextvars.Context()
        self.task_run: TaskRun | None = None
        self.asyncio_task: asyncio.Task[Any] | None = None
        self._soft: Interruptible | None = None
        self._timers: list[asyncio.TimerHandle] = []

    def terminate(self, signal: Any = None) -> None:
        """Cancel the coroutine and ignore its result. A plain function cannot be cancelled; its result is ignored."""
        self.fate = Fate.TERMINATED
        self.cancel()

    def cancel(self) -> None:
        """Cancel the coroutine. Any thread may call this."""
        self._handover.to_loop(self._cancel)

    def start(self) -> None:
        """Start the coroutine. Only the loop's thread may call this. ``on_end`` is called in any case."""
        if self.fate is Fate.NONE:
            try:
                self._start()
                return
            except Exception as error:  # wrong arguments, for instance
                self._clear_timers()
                self.body_result = BodyResult(error=error)
        self._handover.to_hub(self._tell_end)

    def _start(self) -> None:
        assert self.tracer is not None
        assert self.task_run is not None
        loop = self._handover.loop
        # Called in the task's context: a task that takes pydantic models validates its arguments here.
        coroutine = self.context.run(self.tracer.task.body, *self.task_run.args, **self.task_run.kwargs)
        if self.soft_limit:
            self._soft = Interruptible(coroutine)
            coroutine = self._soft.wait()
            self._timers.append(loop.call_later(self.soft_limit, self._on_soft_limit, self.soft_limit))
        if self.hard_limit:
            self._timers.append(loop.call_later(self.hard_limit, self._on_hard_limit, self.hard_limit))
        self.asyncio_task = task = loop.create_task(coroutine, context=self.context)
        task.add_done_callback(self._on_done, context=_NEUTRAL)

    def _cancel(self) -> None:
        if self.asyncio_task is not None:
            self.asyncio_task.cancel()

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._clear_timers()
        if task.cancelled():
            self.body_result = BodyResult(error=asyncio.CancelledError())
        else:
            error = task.exception()
            self.body_result = BodyResult(task.result()) if error is None else BodyResult(error=error)
        if self._is_awaited():
            self._handover.to_hub(self._tell_end)
        else:
            self._handover.to_hub_in_company(self._tell_end)

    def _is_awaited(self) -> bool:
        """Whether somebody may wait for what follows the end. Otherwise only an acknowledgement follows."""
        run = self.task_run
        if run is None or self.body_result is None or self.body_result.error is not None or run.publish_result:
            return True
        context = run.context
        return bool(context.callbacks or context.chain or context.chord or self._hurries())

    def _clear_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()

    def _on_soft_limit(self, limit: float) -> None:
        if self.asyncio_task is not None and not self.asyncio_task.done() and self._soft is not None:
            self._soft.interrupt(SoftTimeLimitExceeded(limit), self.asyncio_task)
            self._handover.to_hub(lambda: self.request.on_timeout(True, limit))

    def _on_hard_limit(self, limit: float) -> None:
        if self.asyncio_task is not None and not self.asyncio_task.done():
            self._handover.to_hub(lambda: self._time_out(limit))

    # On the hub's thread

    def _tell_end(self) -> None:
        self._on_end(self)

    def _time_out(self, limit: float) -> None:
        if self.fate is Fate.NONE and self.body_result is None:
            self.fate = Fate.TIMED_OUT
            self.cancel()
            self.request.on_timeout(False, limit)


class Interruptible:
    """Awaits a coroutine and can raise an error in it, at the place where it waits."""

    __slots__ = ("_coroutine", "_error")

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._error: Exception | None = None

    def interrupt(self, error: Exception, task: asyncio.Task[Any]) -> None:
        """Raise ``error`` at the present ``await`` of the coroutine, which ``task`` runs."""
        self._error = error
        task.cancel()

    async def wait(self) -> Any:
        """Return what the coroutine returns."""
        return await self

    def __await__(self) -> Generator[Any, Any, Any]:
        coroutine = self._coroutine
        step: Callable[[], Any] = partial(coroutine.send, None)
        while True:
            try:
                waited_for = step()
            except StopIteration as end:
                return end.value
            try:
                step = partial(coroutine.send, (yield waited_for))
            except asyncio.CancelledError as cancelled:
                step = partial(coroutine.throw, self._in_place_of(cancelled))
            except BaseException as error:
                step = partial(coroutine.throw, error)

    def _in_place_of(self, cancelled: BaseException) -> BaseException:
        error, self._error = self._error, None
        task = asyncio.current_task()
        if error is None or task is None:
            return cancelled
        task.uncancel()
        return error
