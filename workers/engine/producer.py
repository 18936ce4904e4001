"""Publish from inside a worker: a task's messages are written in one batch with its acknowledgement, before it."""

from __future__ import annotations

import base64
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from kombu.entity import DELIVERY_MODES
from kombu.exceptions import EncodeError
from kombu.utils.uuid import uuid

from workers.engine.ledger import ledger
from workers.engine.plain_json import write


class _Connection:
    """What Celery asks a producer's connection for. The ledger has none, so there are no errors to expect."""

    recoverable_connection_errors: tuple[type[Exception], ...] = ()

    def _reraise_as_library_errors(self) -> AbstractContextManager[None]:
        return nullcontext()


class LedgerProducer:
    """What Celery uses of a kombu producer. A message that needs more than a queue is published by a kombu producer."""

    connection = _Connection()

    def __init__(self, app: Any) -> None:
        self._app = app

    def publish(
        self,
        body: Any,
        *,
        exchange: Any,
        routing_key: Any,
        headers: dict[str, Any],
        serializer: str | None = None,
        compression: str | None = None,
        delivery_mode: Any = None,
        priority: int | None = None,
        expiration: float | None = None,
        declare: Any = None,
        retry: bool = False,
        retry_policy: Any = None,
        timeout: Any = None,
        confirm_timeout: Any = None,
        **properties: Any,
    ) -> Any:
        """Publish a message. The arguments are those of ``kombu.Producer.publish``. Raises EncodeError."""
        if exchange != "" or serializer != "json" or compression or expiration is not None:
            options = {"delivery_mode": delivery_mode, "expiration": expiration, "declare": declare, **properties}
            options |= {"serializer": serializer, "compression": compression, "priority": priority, "headers": headers}
            options |= {"timeout": timeout, "confirm_timeout": confirm_timeout}
            with self._app.producer_or_acquire() as producer:
                return producer.publish(
                    body, exchange=exchange, routing_key=routing_key, retry=retry, retry_policy=retry_policy, **options
                )
        properties["delivery_mode"] = DELIVERY_MODES.get(delivery_mode, delivery_mode or 2)
        properties["delivery_info"] = {"exchange": "", "routing_key": routing_key}
        properties["priority"] = priority or 0
        properties["body_encoding"] = "base64"
        properties["delivery_tag"] = uuid()
        message = {
            "body": base64.b64encode(_text(body).encode()).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": headers,
            "properties": properties,
        }
        ledger.message(routing_key, _text(message))
        return None

    def revive(self, connection: Any) -> None:
        """Do nothing: the ledger has no connection that could be lost."""


def publish_through_ledger(app: Any) -> None:
    """Have messages for tasks that a worker does not know go through its ledger too: what follows a task of its own."""
    send = app.send_task

    def send_task(name: str, *args: Any, producer: Any = None, connection: Any = None, **options: Any) -> Any:
        if producer is None and connection is None and ledger.is_open:
            producer = LedgerProducer(app)
        return send(name, *args, producer=producer, connection=connection, **options)

    app.send_task = send_task


def _text(value: Any) -> str:
    try:
        return write(value)
    except (TypeError, ValueError) as error:
        raise EncodeError(str(error)) from error
