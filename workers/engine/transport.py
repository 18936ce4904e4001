"""A kombu transport on Redis that loses no message. Keys and message formats are kombu's.

Only the channel on which a worker consumes its tasks differs from kombu's: it takes messages with an ``Intake`` and
settles them with the ledger. Remote control, events and publishers outside of workers use kombu's own ways.

Not supported: Cluster, Redis priorities (use one queue for each priority, see ``queues``), and
``Broadcast`` or expiring queues as task queues.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import Any

import redis
from kombu.transport import TRANSPORT_ALIASES, virtual
from kombu.transport import redis as kombu_redis

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.clients import SILENT_GREETING
from workers.engine.at_work import at_work
from workers.engine.envelope import decoded_body, redelivery, text_in, whose_of
from workers.engine.intake import Intake, take_turn
from workers.engine.ledger import Moved, ledger
from workers.engine.link import BROKER_AWAY
from workers.engine.plain_json import read, untyped_tasks, write
from workers.engine.quick_channel import QuickChannel
from workers.engine.sentinels import Sentinels
from workers.engine.unreadable import unreadable_messages

logger = logging.getLogger(__name__)

JSON = "application/json"
#: The tasks whose messages move an execution of a query: its record says for which message it waits.
MOVING = frozenset({wire.CLASSIFY, wire.ANSWER, wire.SYNTHESIZE})
#: The names of these transports in Celery's setting ``broker_transport``.
ALIAS, SENTINEL_ALIAS = "flywheel", "flywheel-sentinel"
TRANSPORT_ALIASES[ALIAS] = f"{__name__}:Transport"
TRANSPORT_ALIASES[SENTINEL_ALIAS] = f"{__name__}:SentinelTransport"
#: Connections of one intake: one for each queue that it waits for, and a few more.
_INTAKE_CONNECTIONS = 10_000

#: Seconds after which all sockets are registered with the hub anew, should one have been dropped unnoticed.
REGISTERED_ANEW = 1.0
#: Stands for "as many as there are", where a channel has no prefetch limit.
UNLIMITED = 1_000_000


class QoS(kombu_redis.QoS):  # type: ignore[misc]
    """What one channel has delivered and not settled. With an intake, settling adds an entry to the ledger."""

    def room(self, on_room: Callable[[], object]) -> int:
        """Return how many more messages may be delivered. ``on_room``: see ``AtWork.room``."""
        held = len(self._delivered) - len(self._dirty)
        return self._within_prefetch(held, at_work.room(held, on_room))

    def spare(self) -> int:
        """Return how many messages would fill this worker. There is room for them only as ``room`` says."""
        held = len(self._delivered) - len(self._dirty)
        return self._within_prefetch(held, at_work.spare(held))

    def _within_prefetch(self, held: int, room: int | None) -> int:
        if not self.prefetch_count:
            return UNLIMITED if room is None else room
        free: int = self.prefetch_count - held
        if room is not None and room < free:
            free = room
        return free if free > 0 else 0

    def can_consume(self) -> bool:
        """Return whether kombu may take a message. It must not on a channel with an intake."""
        return self.channel.intake is None and bool(super().can_consume())

    def append(self, message: Any, delivery_tag: str) -> None:
        """Note a delivered message. The script ``fetch`` has recorded it in Redis already."""
        if self.channel.intake is None:
            super().append(message, delivery_tag)
        else:
            virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message."""
        if self.channel.intake is None:
            super().ack(delivery_tag)
        else:
            message = self._delivered.get(delivery_tag)
            ledger.acknowledge(delivery_tag, message and message.moved)
            virtual.QoS.ack(self, delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Acknowledge a message that was not worked on; with ``requeue``, return it to its queue."""
        if self.channel.intake is None:
            super().reject(delivery_tag, requeue=requeue)
        elif not requeue:
            self.ack(delivery_tag)
        elif delivery_tag in self._delivered:
            self._give_back(delivery_tag)
            virtual.QoS.ack(self, delivery_tag)

    def forget(self, delivery_tag: str) -> None:
        """Count a message as settled without writing anything: somebody else has, or its lease is to expire."""
        if delivery_tag in self._delivered:
            self._quick_ack(delivery_tag)

    def unsettled_tags(self) -> list[str]:
        """Return the tags of what was delivered and is neither acknowledged nor returned."""
        self._flush()
        return list(self._delivered)

    def restore_visible(self, *args: Any, **kwargs: Any) -> None:
        """Return the messages of lost workers. Called every ``unacked_restore_interval`` seconds."""
        if self.channel.intake is not None:
            self.channel.intake.leases.return_expired(self.visibility_timeout)

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Return what is not settled, when the channel closes at the end of the worker."""
        if self.channel.intake is None:
            super().restore_unacked_once(stderr)
            return
        self._on_collect.cancel()
        self.channel.intake.stop()
        for tag in self.unsettled_tags():
            self._give_back(tag)
        self._delivered.clear()
        try:
            self.channel.intake.settle()
        except BROKER_AWAY as error:
            logger.error("the broker does not answer; unfinished messages go back when their leases expire: %s", error)
        ledger.close()

    def _give_back(self, tag: str) -> None:
        message = self._delivered[tag]
        ledger.give_back(tag, message.queue, redelivery(message._raw))


class TaskMessage(virtual.Message):  # type: ignore[misc]
    """Kombu's message, which reads and settles the messages of Celery's protocol 2 in fewer steps."""

    def __init__(self, payload: dict[str, Any], channel: Any = None, **kwargs: Any) -> None:
        #: The queue it was taken from, and the number of the server's run; empty and 0 where no intake has noted them.
        self.queue: str = payload.pop("queue", "")
        self.run: int = payload.pop("run", 0)
        properties, headers = payload["properties"], payload.get("headers") or {}
        body = payload.get("body")
        if not body or properties.get("body_encoding") != "base64" or headers.get("compression") or kwargs:
            super().__init__(payload, channel, **kwargs)
            return
        self._raw, self.channel, self.body = payload, channel, decoded_body(body, headers, properties)
        self.properties, self.headers = properties, headers
        self.delivery_tag, self.delivery_info = properties["delivery_tag"], properties.get("delivery_info") or {}
        self.content_type, self.content_encoding = payload.get("content-type"), payload.get("content-encoding")
        self.errors: list[Any] = []
        self.accept, self._decoded_cache, self._state = None, None, "RECEIVED"

    def ack(self, multiple: bool = False) -> None:
        """Acknowledge this message."""
        if self.channel is None or self.channel.intake is None or self.acknowledged:
            super().ack(multiple)
        else:
            self.channel.qos.ack(self.delivery_tag)
            self._state = "ACK"

    @property
    def moved(self) -> Moved | None:
        """What this message moves; None where it belongs to no execution of a query."""
        if text_in(self.headers, "task") not in MOVING:
            return None
        execution = text_in(self.properties, "execution")
        return Moved(self.run, execution or self.headers["id"], bool(execution))

    def set_aside(self, reason: str) -> None:
        """Move this message to the unreadable ones. ``reason`` must contain nothing of its text."""
        text = write(self._raw) if self.acknowledged else ""
        whose = whose_of(self.headers, self.properties)
        unreadable_messages.set_aside(self.delivery_tag, self.queue, reason, whose, acknowledged=text)
        self.forget()

    def forget(self) -> None:
        """Hold this message no longer: somebody else has settled it, or will."""
        self.channel.qos.forget(self.delivery_tag)
        self._state = "REJECTED"

    def _decode(self) -> Any:
        is_json = self.content_type == JSON and self.content_encoding in ("utf-8", "binary")
        if is_json and (self.accept is None or JSON in self.accept) and not self.errors:
            try:
                return read(self.body, typed=self.headers.get("task") not in untyped_tasks)
            except (ValueError, TypeError):
                pass  # kombu raises the error that Celery expects
        return super()._decode()


class Channel(QuickChannel):
    """A kombu channel. The one on which a worker consumes tasks gets an intake."""

    QoS = QoS
    Message = TaskMessage
    #: One list for each queue. Urgent work has queues of its own, since it could not overtake prefetched messages.
    priority_steps = (0,)
    intake: Intake | None = None

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, nowait: bool = False, **kwargs: Any) -> Any:
        """Consume from a queue; with ``nowait``, from the next call without it on. Raises BrokerTooOld."""
        hub = self.connection.hub
        if hub is not None and not no_ack and queue not in self._fanout_queues and self.intake is None:
            self.intake = Intake(self, hub, ledger, self.connection._deliver)
            ledger.open(wake=lambda: hub.call_soon(take_turn), settle=self.intake.settle)
            # Tasks that run since before a connection was lost have waited for this.
            self.intake.leases.renew(self.qos.unsettled_tags())
        tag = super().basic_consume(queue, no_ack, *args, nowait=nowait, **kwargs)
        if not nowait:
            self._tell_intake()
        return tag

    def basic_cancel(self, consumer_tag: str) -> Any:
        """Stop consuming from a queue."""
        found = super().basic_cancel(consumer_tag)
        self._tell_intake()
        return found

    def close(self) -> None:
        """Close the channel and its intake."""
        try:
            super().close()
        finally:
            if self.intake is not None:
                self.intake.close()

    def intake_pool(self) -> redis.ConnectionPool:
        """Return a pool of connections to the broker for an intake, which closes it."""
        return redis.ConnectionPool(**{**self._connparams(), "max_connections": _INTAKE_CONNECTIONS})

    def _tell_intake(self) -> None:
        if self.intake is not None:
            self.intake.consume(self.active_queues)

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        if ledger.is_open and kwargs.get("_publish_batch") is None and queue not in self._expires:
            ledger.message(queue, write(message))
        else:
            super()._put(queue, message, **kwargs)


class SentinelChannel(Channel, kombu_redis.SentinelChannel):  # type: ignore[misc]
    """A channel to the primary that Sentinels name.

    kombu would take the Sentinels from the connection's further addresses, to which it changes after a failure: to the
    transport of their scheme, which is its own.
    """

    from_transport_options = (*kombu_redis.SentinelChannel.from_transport_options, "sentinels")
    #: Host and port of each.
    sentinels: list[tuple[str, int]]

    def intake_pool(self) -> redis.ConnectionPool:
        """Return a pool of connections to the primary; the channel closes the connections to the Sentinels."""
        manager = self.pool.sentinel_manager
        primary = manager.master_for(self.master_name, max_connections=_INTAKE_CONNECTIONS)
        pool: redis.ConnectionPool = primary.connection_pool
        return pool

    def _sentinel_managed_pool(self, asynchronous: bool = False) -> redis.ConnectionPool:
        server = {name: value for name, value in self._connparams(asynchronous).items() if name not in ("host", "port")}
        # redis-py has no types here.
        asking = self.sentinel_kwargs | SILENT_GREETING
        manager: Any = Sentinels(self.sentinels, sentinel_kwargs=asking, **server)  # type: ignore[no-untyped-call]
        # kombu closes them with the channel.
        if asynchronous:
            self._async_sentinel_manager = manager
        else:
            self._sentinel_manager = manager
        pool: redis.ConnectionPool = manager.master_for(self.master_name).connection_pool
        return pool


class Poller(kombu_redis.MultiChannelPoller):  # type: ignore[misc]
    """Kombu's poller, which also gives the intake its turn."""

    def on_poll_start(self) -> None:
        """Do what is due before the hub waits for its sockets."""
        kombus_turn = False
        for channel in list(self._channels):
            if channel.intake is not None:
                channel.intake.tick()
            elif channel._active_queues and not channel.active_fanout_queues:
                kombus_turn = True
            # It listens on a connection; on none before the first time, and after that one was lost.
            if channel.active_fanout_queues and not (channel._in_listen and channel._in_listen._sock):
                self._register_LISTEN(channel)
        if kombus_turn:
            super().on_poll_start()


class Transport(kombu_redis.Transport):  # type: ignore[misc]
    """The transport behind ``broker_transport = "flywheel"``."""

    Channel = Channel
    #: The hub of the worker whose connection this is; None outside of a worker.
    hub: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cycle = Poller()
        self._on_tick: set[Any] = set()
        #: When to register all sockets with the hub again.
        self._register_at = 0.0

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Have the hub call this transport from now on."""
        self.hub = loop
        others = set(loop.on_tick)
        super().register_with_event_loop(connection, loop)
        loop.on_tick &= others  # without kombu's callback, in whose place ours is called
        self._on_tick = {self._take_turn}
        loop.on_tick |= self._on_tick

    def _take_turn(self) -> None:
        """Do what kombu does before the hub waits. Kombu registers every socket anew in each turn: a system call."""
        self.cycle.on_poll_start()
        now = monotonic()
        if all_anew := now >= self._register_at:
            self._register_at = now + REGISTERED_ANEW
        for fd in self.cycle.fds:
            if all_anew or fd not in self.hub.readers:
                self.hub.add_reader(fd, self.on_readable, fd)

    def close_connection(self, connection: Any) -> None:
        """Close all channels. Kombu would leave its callback in the hub, one more with every lost connection."""
        if self.hub is not None:
            self.hub.on_tick -= self._on_tick
        super().close_connection(connection)


class SentinelTransport(Transport):
    """The transport where Sentinels name the broker."""

    Channel = SentinelChannel
