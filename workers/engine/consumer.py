"""A Celery consumer that outlives its broker: short jittered reconnects, and running tasks keep what they hold.

Delivery tags on Redis belong to no connection. When one is lost, its running tasks go on, their leases are renewed and
their acknowledgements written over the next one. It serves both engines.
"""

from __future__ import annotations

import functools
import logging
import random
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from celery import bootsteps
from celery.worker import consumer as stock
from celery.worker import state

logger = logging.getLogger(__name__)

#: Seconds between attempts to connect: the first, what each adds, the most. Each worker draws its own within a factor.
BACKOFF = (0.2, 0.2, 2.0)
JITTER = (0.5, 1.0)


class Consumer(stock.Consumer):  # type: ignore[misc]
    """Celery's consumer with our reconnects and acknowledgements."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        #: What lost connections had delivered and running tasks may still hold, by delivery tag.
        self.kept: dict[str, Any] = {}
        #: Acknowledgements that could not be written.
        self.owed: deque[Callable[[], None]] = deque()
        super().__init__(*args, **kwargs)

    def ensure_connected(self, conn: Any) -> Any:
        start, step, most = (seconds * random.uniform(*JITTER) for seconds in BACKOFF)
        conn.ensure_connection = functools.partial(
            conn.ensure_connection, interval_start=start, interval_step=step, interval_max=most
        )
        return super().ensure_connected(conn)

    def create_task_handler(self, **_: Any) -> Any:
        # Celery wraps each acknowledgement in a promise of vine's, whose chaining nobody uses here.
        return super().create_task_handler(promise=_calling)

    def call_soon_ack(self, p: Any, *args: Any, **kwargs: Any) -> Any:
        """Acknowledge or reject; at once when the pool reports on the hub's thread, else on the hub's next turn."""
        if getattr(self.pool, "reports_on_hub", False):
            self._settle(p, args)
        else:
            self.hub.call_soon(self._settle, p, args)
        return p

    def _settle(self, write: Callable[..., None], args: tuple[Any, ...]) -> None:
        """Call a message's ``ack_log_error`` or ``reject_log_error``; keep it to be called again if that fails."""
        message = write.__self__  # type: ignore[attr-defined]
        try:
            write(*args)
        except Exception as error:  # a closed channel fails in many ways
            logger.warning("message %s is not acknowledged yet: %r", message.delivery_tag, error)
        if not message.acknowledged:
            self.owed.append(functools.partial(self._settle, write, args))
            self.kept[message.delivery_tag] = message

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        for request in tuple(state.reserved_requests):
            if not request.acknowledged:
                self.kept[request.message.delivery_tag] = request.message
        for channel in self.connection.transport.channels:
            if channel._qos is not None:  # nothing can be given back over a lost connection
                channel._qos._on_collect.cancel()
                channel._qos.restore_unacked_once = _nothing
        super().on_connection_error_after_connected(exc)

    def adopt_kept(self) -> None:
        """Let the new channel hold what the lost one held, then write the acknowledgements that are due."""
        channel = self.task_consumer.channel
        self.kept = {tag: message for tag, message in self.kept.items() if not message.acknowledged}
        for tag, message in self.kept.items():
            message.channel = channel
            channel.qos._delivered[tag] = message
        for _ in range(len(self.owed)):
            self.owed.popleft()()


class Leases(bootsteps.StartStopStep):  # type: ignore[misc]
    """Renews the leases of all messages this worker holds, at a third of the visibility timeout."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        self._timer: Any = None
        self._consumer: Any = None
        self._due = 0.0
        super().__init__(consumer, **kwargs)

    def start(self, consumer: Any) -> None:
        self._consumer = consumer
        consumer.adopt_kept()
        consumer.pool.leases = self  # renewed while the pool drains too, when no timer runs any more
        self._due = 0.0
        self.renew_if_due()
        self._timer = consumer.timer.call_repeatedly(0.5, self.renew_if_due)

    def stop(self, consumer: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def renew_if_due(self) -> None:
        """Renew unless it was done less than a third of the visibility timeout ago. Raises when the broker is away."""
        now = time.monotonic()
        task_consumer = self._consumer.task_consumer
        if now < self._due or task_consumer is None:
            return
        channel = task_consumer.channel
        self._due = now + channel.visibility_timeout / 3
        if getattr(channel, "intake", None) is not None:
            channel.intake.renew(channel.qos.held())
        else:
            _renew_stock(channel)


def _renew_stock(channel: Any) -> None:
    held = [tag for tag in list(channel.qos._delivered) if tag not in channel.qos._dirty]
    if held:
        now = time.time()
        with channel.conn_or_acquire() as client:
            client.zadd(channel.unacked_index_key, dict.fromkeys(held, now), xx=True)


def _calling(function: Callable[..., Any], args: tuple[Any, ...], on_error: Any = None) -> Callable[..., Any]:
    return functools.partial(function, *args)


def _nothing(*args: Any, **kwargs: Any) -> None:
    """There is nothing to restore."""
