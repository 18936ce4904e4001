"""How a worker takes its tasks: as many as it has room for, from all its queues at once, without a moment of loss.

FETCH pops and records in one step, so a message is in a queue or under a lease, never only in this process. When the
queues are empty the worker waits without taking: on each list stands a ``BLMOVE list list RIGHT RIGHT``, which answers
when there is a message and leaves it where it was. Only lists that have answered are looked into.
"""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

import redis
from redis.exceptions import ResponseError

from workers.engine.ledger import Ledger
from workers.engine.link import BROKER_AWAY, Call, Link
from workers.engine.plain_json import read, write
from workers.engine.queues import fetch_order
from workers.engine.scripts import EXPIRED, FETCH, RENEW, SETTLE
from workers.engine.versions import check_server
from workers.engine.waiter import OVERDUE, Waiter

logger = logging.getLogger(__name__)

#: Messages taken in one round trip, and from one queue before the next one of its band has its turn.
FETCH_LIMIT, SHARE = 200, 8
#: Leases renewed, or found expired and given back, in one round trip.
LEASES = 1000
#: Seconds for which a refused write (out of memory, disk full ...) rests before it is tried again: from, to.
REST = (0.2, 2.0)
#: Seconds for which the broker remembers a batch.
REMEMBERED = 300
#: Seconds that acknowledgements wait for company: nobody waits for them.
COMPANY = 0.02


class Intake:
    """Takes messages for one channel and settles what the worker owes, once per turn of the hub."""

    def __init__(self, channel: Any, hub: Any, ledger: Ledger, deliver: Callable[[Any, str], None]) -> None:
        check_server(channel.client.info("server")["redis_version"])
        pool = redis.ConnectionPool(**{**channel._connparams(), "max_connections": 10_000})
        self._pool, self._hub, self._ledger, self._deliver = pool, hub, ledger, deliver
        self._channel = channel
        self._unacked, self._index = channel.unacked_key, channel.unacked_index_key
        self._settled = f"flywheel:settled:{ledger.name}"
        self._link = Link(pool, channel.visibility_timeout)
        #: One for each queue, in the order of ``queues``.
        self._waiters: dict[str, Waiter] = {}
        self._overdue_at = 0.0
        self._turn = 0
        #: Queues that may have messages: take from them before waiting on them.
        self._hungry: set[str] = set()
        self._closed = False
        self._settling: Any = None
        self._resting_until, self._rest = 0.0, REST[0]

    # Each turn of the hub

    def tick(self) -> None:
        """Settle and take in one round trip, deliver, settle what cannot wait, wait for messages."""
        if self._closed or self._resting():
            return
        room = self._channel.qos.room()
        if self._hungry and room > 0:
            self._receive_all(self._settle_and_fetch(min(room, FETCH_LIMIT)))
        if self._ledger.is_urgent:
            self.settle()
        elif self._ledger.owes and self._settling is None:
            self._settling = self._hub.call_later(COMPANY, self._settle_later)
        self._wait()

    def _settle_later(self) -> None:
        self._settling = None
        if not self._closed:
            self.settle()

    def settle(self) -> None:
        """Write everything that is owed. A refusal is kept and tried again after a rest."""
        while self._ledger.owes and not self._resting():
            self._settled_or_rest(*self._link.run(self._settlement()))

    def _settle_and_fetch(self, room: int) -> list[bytes]:
        order = [name for band in fetch_order(self._hungry, self._turn) for name in ("=", *band)]
        fetch = Call(FETCH, (self._unacked, self._index), (room, SHARE, *order))
        calls = [self._settlement(), fetch] if self._ledger.owes else [fetch]
        *settled, taken = self._link.run(*calls)
        self._settled_or_rest(*settled)
        if isinstance(taken, ResponseError):
            self._take_rest(taken)
            return []
        self._turn += 1
        if len(taken) < 2 * room:
            self._hungry.clear()
        found: list[bytes] = taken
        return found

    def _settlement(self) -> Call:
        batch_id, *entries = self._ledger.batch()
        return Call(SETTLE, (self._unacked, self._index, self._settled), (batch_id, REMEMBERED, *entries))

    def _settled_or_rest(self, *answers: Any) -> None:
        for answer in answers:
            if isinstance(answer, ResponseError):
                self._take_rest(answer)
            else:
                self._ledger.confirm()
                self._rest = REST[0]

    def _resting(self) -> bool:
        return monotonic() < self._resting_until

    def _take_rest(self, refusal: ResponseError) -> None:
        logger.error("the broker refuses a write, it is kept and tried again: %s", refusal)
        self._resting_until = monotonic() + self._rest * random.uniform(0.5, 1)
        self._rest = min(2 * self._rest, REST[1])

    # Receiving

    def _receive_all(self, taken: list[bytes]) -> None:
        timers = self._hub.timer._queue  # ``queue`` would be a sorted copy
        timed = len(timers)
        for place in range(0, len(taken), 2):
            self._receive(taken[place].decode(), taken[place + 1])
        if len(timers) > timed or self._hub._ready:
            self._hub._waker.wake()  # how long the hub may wait now was reckoned before these messages came

    def _receive(self, queue: str, raw: bytes) -> None:
        try:
            message = read(raw)
            message["properties"]["delivery_tag"]
        except (ValueError, KeyError, TypeError):
            logger.critical("a message of %d bytes in queue %s is not a task message: dropped", len(raw), queue)
            self._ledger.acknowledge(hashlib.sha1(raw).hexdigest())
            return
        qos, tag = self._channel.qos, message["properties"]["delivery_tag"]
        try:
            self._deliver(message, queue)
        except BROKER_AWAY:
            qos.reject(tag, requeue=True)
            raise
        except Exception:  # the next message must not suffer, nor this one come back for ever
            logger.critical("a message in queue %s could not be delivered: dropped", queue, exc_info=True)
            qos.ack(tag)

    def consume(self, queues: Iterable[str]) -> None:
        """Take from these queues and no others."""
        wanted = {} if self._closed else dict.fromkeys(queues)
        for queue in self._waiters.keys() - wanted:
            self._waiters.pop(queue).close()
            self._hungry.discard(queue)
        for queue in wanted:
            if queue not in self._waiters:
                self._waiters[queue] = Waiter(self._pool, self._hub, queue, self._hungry.add)
                self._hungry.add(queue)

    def _wait(self) -> None:
        """Have a question open on every queue that is not known to have messages. Raises when an answer is overdue."""
        now = monotonic()
        for queue, waiter in self._waiters.items():
            if waiter.asked is None and queue not in self._hungry:
                waiter.ask(now)
        if now > self._overdue_at:
            self._overdue_at = now + OVERDUE
            for waiter in self._waiters.values():
                waiter.check(now)

    # Leases

    def renew(self, tags: list[str]) -> None:
        """Stamp the leases of messages that are still being worked on."""
        for start in range(0, len(tags), LEASES):
            (answer,) = self._link.run(Call(RENEW, (self._index,), tags[start : start + LEASES]))
            if isinstance(answer, ResponseError):
                logger.error("the broker refuses to renew leases: %s", answer)

    def return_expired(self, age: float) -> None:
        """Give back messages whose lease nobody renewed for ``age`` seconds: their worker is gone."""
        if self._resting() or not self._link.steady:
            self.probe()
            return
        (found,) = self._link.run(Call(EXPIRED, (self._unacked, self._index), (age, LEASES)))
        if isinstance(found, ResponseError) or not self._link.steady:  # it may have hung in this very call
            return
        for place in range(0, len(found), 3):
            tag, seen, record = found[place : place + 3]
            self._return(tag.decode(), seen.decode(), record)
        if found:
            logger.warning("%d messages of lost workers go back to their queues", len(found) // 3)
            self.settle()

    def probe(self) -> None:
        """Have contact with the broker, for want of other calls."""
        self.renew(["-"])

    def _return(self, tag: str, seen: str, record: bytes) -> None:
        try:
            message, exchange, routing_key = read(record)
            queues = self._channel._lookup(exchange, routing_key)
            payload = redelivery(message)
        except (ValueError, TypeError, KeyError):
            logger.critical("the record of message %s is unreadable: dropped", tag)
            self._ledger.acknowledge(tag)
            return
        for queue in queues:
            self._ledger.give_back(tag, queue, payload, seen=seen)

    def close(self) -> None:
        """Stop taking. What is owed can still be settled."""
        self._closed = True
        for waiter in self._waiters.values():
            waiter.close()
        self._waiters.clear()
        self._link.close()
        self._pool.disconnect()


def redelivery(message: dict[str, Any]) -> str:
    """Return the message as kombu writes one that was delivered before."""
    message["headers"]["redelivered"] = True
    message["properties"]["delivery_info"]["redelivered"] = True
    return write(message)
