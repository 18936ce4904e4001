"""Replace Celery's stacks of running tasks, one for each thread, by stacks of which each coroutine has its own.

``self.request`` and ``current_task`` read these stacks. Thousands of coroutines share one thread, so with a stack for
each thread a task would see the request of another one.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import celery._state
import celery.app.base
import celery.app.task
import celery.app.trace
import celery.utils.threads


class ContextStack:
    """Celery's LocalStack on a context variable."""

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items: ContextVar[tuple[Any, ...]] = ContextVar("celery_stack", default=())

    def push(self, item: Any) -> None:
        """Make ``item`` the current one."""
        self._items.set((*self._items.get(), item))

    def pop(self) -> Any:
        """Remove and return the current item; None if there is none."""
        items = self._items.get()
        if not items:
            return None
        self._items.set(items[:-1])
        return items[-1]

    @property
    def stack(self) -> tuple[Any, ...]:
        """All items, the current one last."""
        return self._items.get()

    @property
    def top(self) -> Any:
        """The current item, None if there is none."""
        items = self._items.get()
        return items[-1] if items else None

    def __len__(self) -> int:
        return len(self._items.get())


def install_context_stacks() -> None:
    """Replace Celery's stacks. Call this before the first app is made: tasks bound before that keep the old ones."""
    if isinstance(celery._state._task_stack, ContextStack):
        return
    celery.utils.threads.LocalStack = ContextStack  # Task.bind takes it from here when it makes a request stack
    tasks = ContextStack()
    for module in (celery._state, celery.app.base, celery.app.task, celery.app.trace):
        module._task_stack = tasks
    for module in (celery._state, celery.app):
        module.push_current_task, module.pop_current_task = tasks.push, tasks.pop
