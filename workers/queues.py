"""The queues that a worker reads. It can begin to read one that appears while it runs."""

from __future__ import annotations

from typing import Any

from celery import Celery, signals


class WorkerQueues:
    """The queues of this process. Create it before the worker starts."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._consumer: Any = None
        #: Whether it begins to read queues that no worker reads; False where it was told which queues to read.
        self.takes_all = True
        signals.worker_ready.connect(self._on_ready, weak=False)

    @property
    def read(self) -> list[str]:
        """Names of the queues that it reads now."""
        return list(self._app.amqp.queues.consume_from)

    def take_up(self, queue: str) -> None:
        """Have the worker's own thread begin to read one more queue.

        Not by Celery's remote control: another worker of the same name, which was told its queues, would do it too.
        """
        if self.takes_all and self._consumer is not None:
            self._consumer.call_soon(self._consumer.add_task_queue, queue)

    def _on_ready(self, sender: Any, **_: Any) -> None:
        self._consumer = sender
