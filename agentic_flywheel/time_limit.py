"""A time-out for what runs often: ``asyncio.timeout`` in fewer steps, on a loop that its user knows."""

from __future__ import annotations

import asyncio
from types import TracebackType


class TimeLimit:
    """A context manager, of ``with``: TimeoutError where its body, within a task of ``loop``, is not done in time.

    ``asyncio.timeout`` asks for the running loop three times, which on Python 3.11 is a system call each time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, until: float | None) -> None:
        """``until``: by the loop's clock; None: no end."""
        self._loop, self._until = loop, until
        self._timer: asyncio.TimerHandle | None = None
        #: Runs the body; None before and after it.
        self._task: asyncio.Task[object] | None = None
        self._passed = False

    def reschedule(self, until: float | None) -> None:
        """Change when the body is cut. Once it was cut, or has ended, that does nothing."""
        if self._timer is not None:
            self._timer.cancel()
        self._until = until
        runs = self._task is not None and not self._passed
        self._timer = self._loop.call_at(until, self._cut) if runs and until is not None else None

    def __enter__(self) -> TimeLimit:
        task = asyncio.current_task(self._loop)
        assert task is not None, "a time limit is for the body of a task"
        self._task, self._cancelling = task, task.cancelling()
        self.reschedule(self._until)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        task, self._task = self._task, None
        # As in ``asyncio.timeout``: somebody else may have cancelled the task, too.
        if self._passed and task is not None and task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _cut(self) -> None:
        if self._task is not None:
            self._passed = True
            self._task.cancel()
