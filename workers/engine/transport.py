"""A kombu transport on Redis that loses nothing: stock keys and message formats, our own way of taking and settling.

Only the channel on which a worker consumes its tasks works differently from kombu's (see ``intake``); remote control,
events and publishers outside workers are kombu's own. Not supported: ``global_keyprefix``, Sentinel, Cluster, Redis
priorities (use queues of their own, see ``queues``), and ``Broadcast`` or expiring queues as task queues.
"""

from __future__ import annotations

import logging
from base64 import b64decode
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, virtual
from kombu.transport import redis as stock

from workers.engine.intake import Intake, redelivery
from workers.engine.ledger import ledger
from workers.engine.link import BROKER_AWAY
from workers.engine.plain_json import read, write

logger = logging.getLogger(__name__)

JSON = "application/json"
ALIAS = "flywheel"
TRANSPORT_ALIASES[ALIAS] = f"{__name__}:Transport"


class QoS(stock.QoS):  # type: ignore[misc]
    """What one channel has delivered and not settled. With an intake, settling is an entry in the ledger."""

    def room(self) -> int:
        """Return how many more messages may be delivered."""
        estimate = self.can_consume_max_estimate()
        return 1_000_000 if estimate is None else int(estimate)

    def can_consume(self) -> bool:
        """Return whether kombu may take a message; where there is an intake, nobody else may."""
        return self.channel.intake is None and bool(super().can_consume())

    def append(self, message: Any, delivery_tag: str) -> None:
        if self.channel.intake is None:
            super().append(message, delivery_tag)
        else:  # FETCH has recorded it
            virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        if self.channel.intake is None:
            super().ack(delivery_tag)
        else:
            ledger.acknowledge(delivery_tag)
            virtual.QoS.ack(self, delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        if self.channel.intake is None:
            super().reject(delivery_tag, requeue=requeue)
        elif not requeue:
            self.ack(delivery_tag)
        elif delivery_tag in self._delivered:
            self._give_back(delivery_tag)
            virtual.QoS.ack(self, delivery_tag)

    def held(self) -> list[str]:
        """Return the tags of what was delivered and is neither done nor given back."""
        self._flush()
        return list(self._delivered)

    def restore_visible(self, *args: Any, **kwargs: Any) -> None:
        """Give back what workers that are gone have left. Called every ``unacked_restore_interval`` seconds."""
        if self.channel.intake is not None:
            self.channel.intake.return_expired(self.visibility_timeout)

    def restore_unacked_once(self, stderr: Any = None) -> None:
        if self.channel.intake is None:
            super().restore_unacked_once(stderr)
            return
        self._on_collect.cancel()
        for tag in self.held():
            self._give_back(tag)
        self._delivered.clear()
        try:
            self.channel.intake.settle()
        except BROKER_AWAY as error:
            logger.error("the broker is away at the end; its visibility timeout will redeliver what is left: %s", error)
        ledger.close()

    def _give_back(self, tag: str) -> None:
        message = self._delivered[tag]
        exchange, routing_key = message.delivery_info["exchange"], message.delivery_info["routing_key"]
        for queue in self.channel._lookup(exchange, routing_key):
            ledger.give_back(tag, queue, redelivery(message._raw))


class Message(virtual.Message):  # type: ignore[misc]
    """Kombu's message, which reads and settles what Celery sends without kombu's detours."""

    def __init__(self, payload: dict[str, Any], channel: Any = None, **kwargs: Any) -> None:
        properties, headers = payload["properties"], payload.get("headers") or {}
        body = payload.get("body")
        if not body or properties.get("body_encoding") != "base64" or headers.get("compression") or kwargs:
            super().__init__(payload, channel, **kwargs)
            return
        self._raw, self.channel, self.body = payload, channel, b64decode(body)
        self.properties, self.headers = properties, headers
        self.delivery_tag, self.delivery_info = properties["delivery_tag"], properties.get("delivery_info") or {}
        self.content_type, self.content_encoding = payload.get("content-type"), payload.get("content-encoding")
        self.errors: list[Any] = []
        self.accept, self._decoded_cache, self._state = None, None, "RECEIVED"

    def ack(self, multiple: bool = False) -> None:
        if self.channel is None or self.channel.intake is None or self.acknowledged:
            super().ack(multiple)
        else:
            self.channel.qos.ack(self.delivery_tag)
            self._state = "ACK"

    def _decode(self) -> Any:
        is_json = self.content_type == JSON and self.content_encoding in ("utf-8", "binary")
        if is_json and (self.accept is None or JSON in self.accept) and not self.errors:
            try:
                return read(self.body)
            except (ValueError, TypeError):
                pass  # kombu knows how to complain
        return super()._decode()


class Channel(stock.Channel):  # type: ignore[misc]
    """A kombu channel; the worker's task channel gets an intake."""

    QoS = QoS
    Message = Message
    #: A queue is one list: urgent work has queues of its own, which no prefetched message stands before.
    priority_steps = (0,)
    intake: Intake | None = None

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> Any:
        hub = self.connection.hub
        if hub is not None and not no_ack and queue not in self._fanout_queues and self.intake is None:
            self.intake = Intake(self, hub, ledger, self.connection._deliver)
            ledger.open(wake=lambda: hub.call_soon(_nothing), settle=self.intake.settle)
        tag = super().basic_consume(queue, no_ack, *args, **kwargs)
        self._tell_intake()
        return tag

    def basic_cancel(self, consumer_tag: str) -> Any:
        found = super().basic_cancel(consumer_tag)
        self._tell_intake()
        return found

    def _tell_intake(self) -> None:
        if self.intake is not None:
            self.intake.consume(self.active_queues)

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        if ledger.is_open and kwargs.get("_publish_batch") is None and queue not in self._expires:
            ledger.message(queue, write(message))
        else:
            super()._put(queue, message, **kwargs)

    def close(self) -> None:
        try:
            super().close()
        finally:
            if self.intake is not None:
                self.intake.close()


class Poller(stock.MultiChannelPoller):  # type: ignore[misc]
    """Kombu's poller, which gives the intake its turn."""

    def on_poll_start(self) -> None:
        others = False
        for channel in list(self._channels):
            if channel.intake is not None:
                channel.intake.tick()
            elif channel._active_queues and not channel.active_fanout_queues:
                others = True
            if channel.active_fanout_queues:
                self._register_LISTEN(channel)
        if others:
            super().on_poll_start()


class Transport(stock.Transport):  # type: ignore[misc]
    """The transport behind ``broker_transport = "flywheel"``."""

    Channel = Channel
    #: The event loop of the worker whose connection this is.
    hub: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cycle = Poller()

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        self.hub = loop
        super().register_with_event_loop(connection, loop)


def _nothing() -> None:
    """Nothing to do, but the hub turns."""
