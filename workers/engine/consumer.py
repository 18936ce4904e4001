"""A Celery consumer that survives the loss of its broker and unexpected errors: it connects again, running tasks go on.

Delivery tags on Redis belong to no connection. When one is lost, the messages of running tasks are carried over to the
next one, where their leases are renewed and their acknowledgements written.
"""

from __future__ import annotations

import functools
import logging
import random
import time
import warnings
from collections.abc import Callable
from typing import Any

from celery import bootsteps, signals
from celery.exceptions import CPendingDeprecationWarning, NotRegistered
from celery.utils.objects import Bunch
from celery.worker import consumer as celery_consumer
from celery.worker import state
from kombu.exceptions import ContentDisallowed

from agentic_flywheel.broker.refusals import UNKNOWN, refusal_of
from workers.engine.envelope import is_task_body
from workers.engine.newer import newer_messages
from workers.engine.transport import TaskMessage
from workers.engine.unreadable import reason_of

logger = logging.getLogger(__name__)

#: Seconds before the second attempt to connect, by how much each further pause is longer, and the longest pause.
BACKOFF = (0.2, 0.2, 2.0)
#: Each worker draws a factor from this range for its pauses, so that not all connect at the same moment.
JITTER = (0.5, 1.0)
#: Seconds between an unexpected error and the next connection.
AFTER_UNEXPECTED = 0.5
#: Seconds. After a connection that ends sooner there is a pause: a server that takes too few connections would be asked
#: for them again and again.
SHORT_LIVED = 1.0
#: Longest pause after such a connection, in seconds.
AFTER_SHORT_LIVED = 1.0
#: Seconds between checks whether leases are to be renewed.
LEASE_CHECK = 0.5


class Consumer(celery_consumer.Consumer):  # type: ignore[misc]
    """Celery's consumer with our ways to reconnect, to acknowledge, and to treat messages that cannot be read."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        #: Messages of running tasks that lost connections have delivered, by delivery tag.
        self.carried_over: dict[str, TaskMessage] = {}
        self._was_ready = False
        self._connected_at = 0.0
        super().__init__(*args, **kwargs)
        expected: tuple[type[Exception], ...] = (*self.conninfo.connection_errors, *self.conninfo.channel_errors)
        self._expected_errors = expected
        # Celery connects again after these errors, and ends the worker after any other.
        self.channel_errors = (*expected, Exception)

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, with pauses as BACKOFF says."""
        start, step, most = (seconds * random.uniform(*JITTER) for seconds in BACKOFF)
        conn.ensure_connection = functools.partial(
            conn.ensure_connection, interval_start=start, interval_step=step, interval_max=most
        )
        connected = super().ensure_connected(conn)
        self._connected_at = time.monotonic()
        return connected

    def on_ready(self) -> None:
        """Note that the worker has started: from now on it survives unexpected errors."""
        self._was_ready = True
        super().on_ready()

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """Go on after an error; raise it if it is unexpected and the worker has not started yet."""
        self._note_unexpected(exc)
        super().on_connection_error_before_connected(exc)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Carry over what runs, and go on; raise the error if it is unexpected and the worker has not started yet."""
        self._note_unexpected(exc)
        refused = refusal_of(exc)
        logger.warning("the connection to the broker ended: %s", exc if refused in (None, UNKNOWN) else refused.meaning)
        if isinstance(exc, self._expected_errors) and time.monotonic() - self._connected_at < SHORT_LIVED:
            time.sleep(AFTER_SHORT_LIVED * random.uniform(*JITTER))
        for request in tuple(state.reserved_requests):
            if not request.acknowledged:
                self.carried_over[request.message.delivery_tag] = request.message
        for channel in self.connection.transport.channels:
            if channel._qos is not None:  # nothing can be returned over a lost connection
                channel._qos._on_collect.cancel()
                channel._qos.restore_unacked_once = _do_nothing
        with warnings.catch_warnings():
            # It would announce, at each loss, what Celery 6 does with running tasks. Ours are carried over.
            warnings.simplefilter("ignore", CPendingDeprecationWarning)
            super().on_connection_error_after_connected(exc)

    def _note_unexpected(self, error: Exception) -> None:
        if isinstance(error, self._expected_errors):
            return
        if not self._was_ready:
            raise error
        logger.error("the worker met an unexpected error and goes on with a new connection", exc_info=error)
        time.sleep(AFTER_UNEXPECTED)

    def adopt_carried_over(self) -> None:
        """Give the messages of running tasks to the new channel."""
        channel = self.task_consumer.channel
        self.carried_over = {tag: each for tag, each in self.carried_over.items() if not each.acknowledged}
        for tag, message in self.carried_over.items():
            message.channel = channel
            channel.qos._delivered[tag] = message

    def create_task_handler(self, **_: Any) -> Any:
        """Return what is called with each message. Plain calls replace Celery's promises, which nobody chains."""
        receive = super().create_task_handler(promise=_as_call)

        def receive_readable(message: TaskMessage) -> None:
            if "task" not in message.headers:  # protocol 1, of which Celery reads the body
                receive(message)
                return
            if newer_messages.takes(message):
                return
            try:
                payload = message.payload
            except Exception as error:
                self.on_decode_error(message, error)
                return
            if is_task_body(payload):
                receive(message)
            else:
                message.set_aside("its body is not a list of arguments, keyword arguments and callbacks")

        return receive_readable

    def call_soon_ack(self, p: Any, *args: Any, **kwargs: Any) -> Any:
        """Acknowledge or reject at once: this is the hub's thread, and it only adds to the ledger."""
        p(*args, **kwargs)
        return p

    # Celery drops such messages and writes their text into the log.

    def on_decode_error(self, message: TaskMessage, exc: Exception) -> None:
        """Set aside a message whose body cannot be decoded."""
        is_json = not isinstance(exc, ContentDisallowed)
        message.set_aside(f"its body cannot be decoded: {reason_of(exc)}" if is_json else "it is not written as JSON")

    def on_unknown_message(self, body: Any, message: TaskMessage) -> None:
        """Set aside a message that names no task."""
        message.set_aside("it names no task")
        signals.task_rejected.send(sender=self, message=message, exc=None)

    def on_invalid_task(self, body: Any, message: TaskMessage, exc: Exception) -> None:
        """Set aside a message that Celery refuses."""
        message.set_aside(f"its fields are not acceptable: {reason_of(exc)}")
        signals.task_rejected.send(sender=self, message=message, exc=exc)

    def on_unknown_task(self, body: Any, message: TaskMessage, exc: Exception) -> None:
        """Set aside a message whose task this worker does not have, and store the failure as the task's result."""
        message.set_aside("this worker has no task of its name")
        task_id, name = message.headers.get("id"), message.headers.get("task")
        if task_id is not None:
            about = Bunch(name=name, chord=None, root_id=message.headers.get("root_id"), errbacks=None)
            about.correlation_id = message.properties.get("correlation_id")
            about.reply_to = message.properties.get("reply_to")
            self.app.backend.mark_as_failure(task_id, NotRegistered(name), request=about)
        signals.task_unknown.send(sender=self, message=message, exc=exc, name=name, id=task_id)


class LeaseRenewal(bootsteps.StartStopStep):  # type: ignore[misc]
    """Renews the leases of all messages that this worker holds, at a third of the visibility timeout."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        self._timer: Any = None
        self._consumer: Any = None
        self._due = 0.0
        super().__init__(consumer, **kwargs)

    def start(self, consumer: Any) -> None:
        """Begin with a new connection."""
        self._consumer = consumer
        consumer.adopt_carried_over()
        consumer.pool.leases = self  # while the pool waits for its last tasks, no timer runs
        self._due = 0.0
        self._timer = consumer.timer.call_repeatedly(LEASE_CHECK, self.renew_if_due)

    def stop(self, consumer: Any) -> None:
        """End with a lost connection."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def renew_if_due(self) -> None:
        """Renew all leases if a third of the visibility timeout has passed. Raises redis-py's errors."""
        now = time.monotonic()
        task_consumer = self._consumer.task_consumer
        if now < self._due or task_consumer is None or task_consumer.channel.intake is None:
            return
        channel = task_consumer.channel
        self._due = now + channel.visibility_timeout / 3
        channel.intake.leases.renew(channel.qos.unsettled_tags())


def _as_call(function: Callable[..., Any], args: tuple[Any, ...], on_error: Any = None) -> Callable[..., Any]:
    return functools.partial(function, *args)


def _do_nothing(*args: Any, **kwargs: Any) -> None:
    """Take the place of a method that must not run."""
