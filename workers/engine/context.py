"""Stacks of running tasks that follow a coroutine, in place of Celery's, which follow a thread.

``self.request`` and ``current_task`` read them; thousands of coroutines share one thread, so a thread's stack would
show each of them the request of another.
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
    """Celery's LocalStack on a context variable: a task, and what it awaits, see their own."""

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items: ContextVar[tuple[Any, ...]] = ContextVar("celery_stack", default=())

    def push(self, item: Any) -> None:
        self._items.set((*self._items.get(), item))

    def pop(self) -> Any:
        items = self._items.get()
        if not items:
            return None
        self._items.set(items[:-1])
        return items[-1]

    @property
    def stack(self) -> tuple[Any, ...]:
        return self._items.get()

    @property
    def top(self) -> Any:
        items = self._items.get()
        return items[-1] if items else None

    def __len__(self) -> int:
        return len(self._items.get())


def install_context_stacks() -> None:
    """Replace Celery's stacks. Tasks bound earlier keep their old one, so call this before the first app is made."""
    if isinstance(celery._state._task_stack, ContextStack):
        return
    celery.utils.threads.LocalStack = ContextStack  # Task.bind takes it from here when it makes a request stack
    tasks = ContextStack()
    for module in (celery._state, celery.app.base, celery.app.task, celery.app.trace):
        module._task_stack = tasks
    for module in (celery._state, celery.app):
        module.push_current_task, module.pop_current_task = tasks.push, tasks.pop
