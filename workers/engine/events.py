"""Events of tasks that the application sends itself: what becomes of a task whose end Celery cannot tell.

A task with ``tells_end = False`` is one step of something longer. Its end sends no event; the application says with
``TaskEvents`` how the whole has ended.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

from celery import signals

from workers.engine.request import tells_of_tasks

#: Names of Celery's events of a task's end.
TaskEvent = Literal["task-succeeded", "task-failed", "task-revoked", "task-retried"]


class TaskEvents:
    """Sends events of tasks over the worker's own connection. Create it before the worker starts."""

    def __init__(self) -> None:
        self._consumer: Any = None
        signals.worker_ready.connect(self._on_ready, weak=False)

    @property
    def wanted(self) -> bool:
        """Whether anybody asked for events: the option ``-E``, or a Flower that enables them while it runs."""
        return self._consumer is not None and tells_of_tasks(self._consumer.event_dispatcher)

    def send(self, kind: TaskEvent, task_id: str, **fields: Any) -> None:
        """Send one event, after those that were sent before. Any thread may call this; it does not block.

        ``fields`` must be JSON. Nothing is sent where nobody wants events.
        """
        if self.wanted:
            self._consumer.pool.handover.to_hub(partial(self._send, kind, task_id, fields))

    def _send(self, kind: TaskEvent, task_id: str, fields: dict[str, Any]) -> None:
        if self.wanted:
            self._consumer.event_dispatcher.send(kind, uuid=task_id, **fields)

    def _on_ready(self, sender: Any, **_: Any) -> None:
        self._consumer = sender
