"""The base class of tasks. It lets a task be written as ``async def``.

The coroutine runs on the loop. Publishing would block the loop, so ``retry`` and ``replace`` in a coroutine raise an
exception that says what is to be done. It is done when the coroutine has ended, on the thread that owns the broker
connection: there, the task's ``run`` returns or raises what the coroutine did.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

from celery import Task
from celery.exceptions import Ignore, Retry
from pydantic import BaseModel

from workers.engine.ledger import ledger
from workers.engine.loops import in_event_loop, shared_loop
from workers.engine.plain_json import untyped_tasks
from workers.engine.producer import LedgerProducer


class RetryLater(Retry):  # type: ignore[misc]
    """A coroutine has called ``retry`` with these options."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__()
        self.options = options


class ReplaceLater(Ignore):  # type: ignore[misc]
    """A coroutine has called ``replace`` with this signature."""

    def __init__(self, signature: Any) -> None:
        super().__init__("to be replaced")
        self.signature = signature


@dataclass(frozen=True, slots=True)
class BodyResult:
    """How the coroutine of a task ended: with a value or with an error."""

    value: Any = None
    error: BaseException | None = None


#: How the next ``run`` is to end, in place of running.
_replayed: ContextVar[BodyResult | None] = ContextVar("replayed_result", default=None)


def replay_next(result: BodyResult) -> None:
    """Make the next ``run`` of an AsyncTask in this context end as the coroutine has ended.

    So whatever is wrapped around ``run`` (``autoretry_for``, a custom ``__call__``) sees the value or the error of the
    coroutine as if it had just run.
    """
    _replayed.set(result)


class AsyncTask(Task):  # type: ignore[misc]
    """The base of all tasks of an app with the engine, written as ``async def`` or as plain ``def``."""

    abstract = True
    #: Where Celery finds the function that receives the messages of this task.
    Strategy = "workers.engine.request:strategy"
    #: What Celery's own strategy makes of a message.
    Request = "workers.engine.request:DiscreetRequest"

    #: Whether objects with kombu's mark in its arguments become datetimes, UUIDs and so on; not in data of users.
    reads_types = True
    #: Whether Celery honours ``eta``, ``expires`` and the time limits of its messages, or the task itself does.
    honours_times = False
    #: Whether Celery sends an event of its end. False: the application does, see ``engine.events``.
    tells_end = True
    #: Whether Celery stores its result where a message wants it. False: the application stores the only one. Clients of
    #: Celery 5.4, among others, want it with each message.
    stores_result = True
    #: Whether events, remote control and logs show its arguments and its result.
    shows_data = True

    #: The coroutine function, if the task was written as one.
    body: Callable[..., Coroutine[Any, Any, Any]] | None = None

    @classmethod
    def on_bound(cls, app: Any) -> None:
        """Put a plain ``run`` in the place of a coroutine function, which becomes ``body``."""
        run = cls.__dict__.get("run")
        written = run.__func__ if isinstance(run, staticmethod) else run
        if written is not None and inspect.iscoroutinefunction(inspect.unwrap(written)):
            cls.body = run
            cls.run = AsyncTask._run
            # Celery calls an errback of this process as a function, unless this is a partial one: then it sends it.
            cls.__header__ = staticmethod(partial(cls.__header__))
        if not cls.reads_types:
            untyped_tasks.add(cls.name)

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        result = _replayed.get()
        if result is not None:
            _replayed.set(None)  # only once: a hook of this task may call another task as a function
            return self._replay(result)
        assert self.body is not None
        coroutine = self.body(*args, **kwargs)
        if in_event_loop():  # a task that awaits another task as a function
            return coroutine
        future = shared_loop.get().submit(coroutine)
        error = future.exception()
        return self._replay(BodyResult(future.result()) if error is None else BodyResult(error=error))

    def _replay(self, result: BodyResult) -> Any:
        match result.error:
            case None:
                models = self._dump_pydantic_arguments is not None  # pydantic=True
                value = result.value
                return value.model_dump(mode="json") if models and isinstance(value, BaseModel) else value
            case RetryLater() as wanted:
                return super().retry(**wanted.options)
            case ReplaceLater() as wanted:
                return super().on_replace(wanted.signature)
            case asyncio.CancelledError():
                raise RuntimeError("the task was cancelled from within")
            case Exception() as error:
                raise error
            case error:
                raise RuntimeError(f"the task called for the end of the process: {error!r}")

    def apply_async(self, args: Any = None, kwargs: Any = None, producer: Any = None, **options: Any) -> Any:
        """Send the task. Inside a worker this adds to the ledger, so it neither blocks nor fails."""
        if producer is None and ledger.is_open:
            producer = LedgerProducer(self.app)
        return super().apply_async(args, kwargs, producer=producer, **options)

    def retry(
        self,
        args: Any = None,
        kwargs: Any = None,
        exc: Any = None,
        throw: bool = True,
        eta: Any = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Any:
        """Retry as ``Task.retry`` does, also in a coroutine. Use it as ``raise self.retry(...)``; times are seconds."""
        options |= {"args": args, "kwargs": kwargs, "exc": exc, "throw": throw}
        options |= {"eta": eta, "countdown": countdown, "max_retries": max_retries}
        request = self.request
        if not in_event_loop() or request.called_directly or request.is_eager:
            return super().retry(**options)
        later = RetryLater(options | {"throw": True})
        if throw:
            raise later
        return later

    def on_replace(self, sig: Any) -> Any:
        """Publish the replacement. In a coroutine this raises; the replacement is published when it has ended."""
        if in_event_loop() and not self.request.is_eager:
            raise ReplaceLater(sig)
        return super().on_replace(sig)
