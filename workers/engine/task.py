"""Tasks written as ``async def``: what runs on the loop, and what must wait until it is off the loop again.

Publishing blocks, so ``retry`` and ``replace`` inside a coroutine only raise what is to be done; it is done when the
coroutine's outcome is replayed on the thread that owns the broker connection.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from celery import Task
from celery.exceptions import Ignore, Retry
from pydantic import BaseModel

from workers.engine.ledger import ledger
from workers.engine.loops import in_event_loop, shared_loop
from workers.engine.producer import LedgerProducer


class RetryLater(Retry):  # type: ignore[misc]
    """The coroutine asked for a retry."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__()
        self.options = options


class ReplaceLater(Ignore):  # type: ignore[misc]
    """The coroutine asked to be replaced by another signature."""

    def __init__(self, signature: Any) -> None:
        super().__init__("to be replaced")
        self.signature = signature


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a coroutine ended: with a value or with an error."""

    value: Any = None
    error: BaseException | None = None


#: The outcome that the task's ``run`` is to give instead of running.
_replayed: ContextVar[Outcome | None] = ContextVar("replayed_outcome", default=None)


def replaying(outcome: Outcome) -> None:
    """Make the next ``run`` of an AsyncTask in this context end as ``outcome``.

    What Celery and others wrap around ``run`` (``autoretry_for``, a custom ``__call__``) sees the end of the coroutine
    as if it had run there and then.
    """
    _replayed.set(outcome)


class AsyncTask(Task):  # type: ignore[misc]
    """The base of all tasks of an app with the engine: ``async def`` and plain ``def`` alike."""

    abstract = True
    #: How a consumer takes messages of this task.
    Strategy = "workers.engine.request:strategy"

    #: The coroutine function, when ``run`` was written as one.
    body: Callable[..., Coroutine[Any, Any, Any]] | None = None

    @classmethod
    def on_bound(cls, app: Any) -> None:
        run = cls.__dict__.get("run")
        written = run.__func__ if isinstance(run, staticmethod) else run
        if written is not None and inspect.iscoroutinefunction(inspect.unwrap(written)):
            cls.body = run
            cls.run = AsyncTask._run

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        outcome = _replayed.get()
        if outcome is not None:
            _replayed.set(None)  # once: a task called directly by a hook of this one has its own end
            return self._replay(outcome)
        assert self.body is not None
        coroutine = self.body(*args, **kwargs)
        if in_event_loop():  # a task that awaits another task as a function
            return coroutine
        future = shared_loop.get().submit(coroutine)
        error = future.exception()
        return self._replay(Outcome(future.result()) if error is None else Outcome(error=error))

    def _replay(self, outcome: Outcome) -> Any:
        match outcome.error:
            case None:
                models = self._dump_pydantic_arguments is not None  # pydantic=True
                value = outcome.value
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
        """Send the task; inside a worker through its ledger, which neither blocks nor fails."""
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
        """Retry as ``Task.retry`` does, inside a coroutine too. Use it as ``raise self.retry(...)``."""
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
        """Publish the replacement; from a coroutine, once it has ended."""
        if in_event_loop() and not self.request.is_eager:
            raise ReplaceLater(sig)
        return super().on_replace(sig)
