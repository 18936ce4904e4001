"""The queues that a worker reads. It can begin to read one that appears while it runs."""

from __future__ import annotations

from typing import Any

from celery import Celery, signals


class WorkerQueues:
    """The queues of this process. Create it before the worker starts."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._hostname = ""
        #: Whether it begins to read queues that no worker reads; False where it was told which queues to read.
        self.takes_all = True
        signals.worker_ready.connect(self._on_ready, weak=False)

    @property
    def read(self) -> list[str]:
        """Names of the queues that it reads now."""
        return list(self._app.amqp.queues.consume_from)

    def take_up(self, queue: str) -> None:
        """Begin to read one more queue. Blocks: Celery's remote control asks the worker's own thread to do it."""
        if self.takes_all and self._hostname:
            self._app.control.add_consumer(queue, destination=[self._hostname])

    def _on_ready(self, sender: Any, **_: Any) -> None:
        self._hostname = sender.hostname
