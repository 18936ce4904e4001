"""One task in the pool: a coroutine on the loop, with its limits, or a plain function in a thread."""

from __future__ import annotations

import asyncio
import contextvars
import enum
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import TYPE_CHECKING, Any

from celery.exceptions import SoftTimeLimitExceeded

from workers.engine.task import Outcome
from workers.engine.tracer import Run, TaskTracer

if TYPE_CHECKING:
    from workers.engine.pool import AsyncIOPool

#: Done-callbacks run outside any task's context.
_NEUTRAL = contextvars.Context()


class Fate(enum.Enum):
    """What became of a job, other than its own end."""

    NONE = "none"
    #: Asked to stop, by a revoke or by a cold shutdown. Celery has announced it.
    TERMINATED = "terminated"
    #: Past its hard limit. Celery has recorded the failure.
    TIMED_OUT = "timed out"
    #: Its message is back in the queue.
    HANDED_BACK = "handed back"


class Job:
    """What ``apply_async`` returns; Celery's request keeps a weak reference to it, to terminate it."""

    __slots__ = (
        "__weakref__",
        "_limits",
        "_soft",
        "asyncio_task",
        "call",
        "context",
        "fate",
        "hard_limit",
        "outcome",
        "pool",
        "request",
        "run",
        "soft_limit",
        "tracer",
    )

    def __init__(
        self, pool: AsyncIOPool, request: Any, tracer: TaskTracer | None, call: Callable[[], Any] | None = None
    ) -> None:
        """``tracer`` is a coroutine task's, ``call`` runs a plain one."""
        self.pool, self.request, self.tracer, self.call = pool, request, tracer, call
        self.soft_limit: float | None = None
        self.hard_limit: float | None = None
        self.fate = Fate.NONE
        self.outcome: Outcome | None = None
        self.context = contextvars.Context()
        self.run: Run | None = None
        self.asyncio_task: asyncio.Task[Any] | None = None
        self._soft: Interruptible | None = None
        self._limits: list[asyncio.TimerHandle] = []

    def terminate(self, signal: Any = None) -> None:
        """Cancel the coroutine. A plain function cannot be cancelled: it ends unheard."""
        self.fate = Fate.TERMINATED
        self.cancel()

    def cancel(self) -> None:
        self.pool.on_loop(self._cancel)

    # On the loop's thread

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the coroutine. The pool hears of its end."""
        assert self.tracer is not None
        assert self.run is not None
        if self.fate is not Fate.NONE:
            self.pool.report(self)
            return
        try:
            # Called in the task's context: pydantic models are validated here, and arguments may not fit.
            coroutine = self.context.run(self.tracer.task.body, *self.run.args, **self.run.kwargs)
        except Exception as error:
            self.outcome = Outcome(error=error)
            self.pool.report(self)
            return
        if self.soft_limit:
            self._soft = Interruptible(coroutine)
            coroutine = self._soft.wait()
            self._limits.append(loop.call_later(self.soft_limit, self._on_soft_limit, self.soft_limit))
        if self.hard_limit:
            self._limits.append(loop.call_later(self.hard_limit, self._on_hard_limit, self.hard_limit))
        self.asyncio_task = task = loop.create_task(coroutine, context=self.context)
        task.add_done_callback(self._on_done, context=_NEUTRAL)

    def _cancel(self) -> None:
        if self.asyncio_task is not None:
            self.asyncio_task.cancel()

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        for limit in self._limits:
            limit.cancel()
        if task.cancelled():
            self.outcome = Outcome(error=asyncio.CancelledError())
        else:
            error = task.exception()
            self.outcome = Outcome(task.result()) if error is None else Outcome(error=error)
        self.pool.report(self)

    def _on_soft_limit(self, limit: float) -> None:
        if self.asyncio_task is not None and not self.asyncio_task.done() and self._soft is not None:
            self._soft.interrupt(SoftTimeLimitExceeded(limit), self.asyncio_task)
            self.pool.report(lambda: self.request.on_timeout(True, limit))

    def _on_hard_limit(self, limit: float) -> None:
        if self.asyncio_task is not None and not self.asyncio_task.done():
            self.pool.report(lambda: self._time_out(limit))

    # On the hub's thread

    def _time_out(self, limit: float) -> None:
        if self.fate is Fate.NONE and self.outcome is None:
            self.fate = Fate.TIMED_OUT
            self.cancel()
            self.request.on_timeout(False, limit)


class Interruptible:
    """Awaits a coroutine into which an error can be thrown where it waits."""

    __slots__ = ("_coroutine", "_error")

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._error: Exception | None = None

    def interrupt(self, error: Exception, task: asyncio.Task[Any]) -> None:
        """Have the coroutine, which ``task`` runs, see ``error`` at its present ``await``."""
        self._error = error
        task.cancel()

    async def wait(self) -> Any:
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
                step = partial(coroutine.throw, self._instead_of(cancelled))
            except BaseException as error:
                step = partial(coroutine.throw, error)

    def _instead_of(self, cancelled: BaseException) -> BaseException:
        error, self._error = self._error, None
        task = asyncio.current_task()
        if error is None or task is None:
            return cancelled
        task.uncancel()
        return error
