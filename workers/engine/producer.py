"""Publish from inside a worker: task messages leave through the ledger, with the acknowledgement of their task."""

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
    """Stands where Celery asks a producer about its connection: it has no errors to expect or to translate."""

    recoverable_connection_errors: tuple[type[Exception], ...] = ()

    def _reraise_as_library_errors(self) -> AbstractContextManager[None]:
        return nullcontext()


class LedgerProducer:
    """What Celery needs of a kombu producer. Messages that do not simply go to a queue take the usual way."""

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
        """Send a message; the arguments are those of ``kombu.Producer.publish``."""
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
        """A ledger has no connection to lose."""


def _text(value: Any) -> str:
    try:
        return write(value)
    except (TypeError, ValueError) as error:
        raise EncodeError(str(error)) from error
