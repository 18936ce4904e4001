"""A kombu channel that needs few round trips and connections before it can be used: the broker may be far away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import kombu
from kombu.transport import redis as kombu_redis

from agentic_flywheel.broker.clients import SILENT_GREETING


class _Fresh:
    """What our connections are made of: one that its server has just greeted is not asked for another sign of life."""

    def on_connect_check_health(self, check_health: bool = True) -> None:
        """Greet the server, log in and choose the database."""
        super().on_connect_check_health(check_health=False)  # type: ignore[misc]  # redis-py's class stands behind


class QuickChannel(kombu_redis.Channel):  # type: ignore[misc]
    """A channel of one pool of connections, which are quickly made, and over which queues are declared together."""

    #: Collects what declares queues, while they are declared together.
    _declarations: Any = None

    @property
    def pool(self) -> Any:
        """The pool of this channel's connections. Kombu has two, and the second connects anew."""
        return self.async_pool

    @contextmanager
    def declared_together(self) -> Iterator[None]:
        """Write what the body of ``with`` declares in one round trip. Kombu makes two for each queue."""
        with self.conn_or_acquire() as client, client.pipeline() as declarations:
            self._declarations = declarations
            try:
                yield
                declarations.execute()
            finally:
                self._declarations = None

    def _size(self, queue: str) -> int:
        """Return how many messages a queue has. While queues are declared together, nobody asks."""
        return 0 if self._declarations is not None else int(super()._size(queue))

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        if self._declarations is None or queue in self._expires or self.typeof(exchange).type == "fanout":
            super()._queue_bind(exchange, routing_key, pattern, queue)
            return
        member = self.sep.join([routing_key or "", pattern or "", queue or ""])
        for table in (self.keyprefix_queue, self.keyprefix_binding_permanent):
            self._declarations.sadd(table % (exchange,), member)

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        told = super()._connparams(asynchronous) | SILENT_GREETING
        kind = told["connection_class"]
        return {**told, "connection_class": type(kind.__name__, (_Fresh, kind), {})}


class QuickConsumer(kombu.Consumer):  # type: ignore[misc]
    """A consumer that declares all its queues at once."""

    def declare(self) -> None:
        """Declare queues, exchanges and bindings."""
        with self.channel.declared_together():
            super().declare()
