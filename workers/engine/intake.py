"""How a worker takes its messages: from all its queues at once, and no more than it has room for.

``fetch`` takes and records messages in one step, so a message is always in a queue or under a lease, never only in this
process. Where a queue is empty, the worker waits on its list with ``BLMOVE list list RIGHT RIGHT``, which replies when
the list has a message and leaves the message where it was. While there is plenty of room, a ``fetch`` of that queue
goes behind it (see ``Waiter``). More messages, and those for a busy worker, are taken from all queues together.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from time import monotonic
from typing import Any, assert_never

import redis

from agentic_flywheel.broker import transport_scripts
from agentic_flywheel.broker.transport_scripts import FetchTaken
from workers.engine.delivery_leases import DeliveryLeases
from workers.engine.envelope import MessageUnreadable, Whose, open_message, whose_of
from workers.engine.ledger import Ledger
from workers.engine.link import BROKER_AWAY, BrokerLink
from workers.engine.queues import fetch_order, list_first
from workers.engine.settler import Settler
from workers.engine.threads import at_once
from workers.engine.unreadable import reason_of, unreadable_messages
from workers.engine.waiter import OVERDUE, TAKEN, Waiter

logger = logging.getLogger(__name__)

#: Most messages taken in one round trip.
FETCH_LIMIT = 200
#: Messages taken from one queue before the next queue of its band has its turn.
SHARE = 8
#: Seconds within which waiters that are stopped have to hear the last from the broker.
STOPPING = 1.0
#: Seconds for which acknowledgements are collected before they are written: nobody waits for them.
ACKNOWLEDGEMENT_DELAY = 0.02


class Intake:
    """Takes messages for one channel, once in each turn of the hub, and writes the ledger."""

    def __init__(self, channel: Any, hub: Any, ledger: Ledger, deliver: Callable[[Any, str], None]) -> None:
        """``deliver`` is called with each message and the queue it was taken from. Nothing is connected yet."""
        pool: redis.ConnectionPool = channel.intake_pool()
        self._pool, self._hub, self._ledger, self._deliver = pool, hub, ledger, deliver
        self._channel = channel
        self._link = BrokerLink(pool, channel.visibility_timeout, channel.global_keyprefix)
        self._settler = Settler(self._link, ledger)
        self.leases = DeliveryLeases(self._link, self._settler, ledger)
        self._waiters: dict[str, Waiter] = {}
        #: Those that are stopped and may still be told of messages.
        self._stopped: list[Waiter] = []
        #: When to look for overdue replies of the waiters next.
        self._check_at = 0.0
        self._turn = 0
        #: Number of the server's run in which messages were taken last.
        self._run = 0
        #: Queues that may have messages.
        self._hungry: set[str] = set()
        self._closed = False
        #: The timer that will write collected acknowledgements.
        self._settling: Any = None

    def tick(self) -> None:
        """Write the ledger and take messages in one round trip, deliver them, write what is urgent, wait for more."""
        if self._closed or self._settler.is_pausing:
            return
        if self._hungry and (room := self._channel.qos.room(self._call_hub)) > 0:
            self._fetch(min(room, FETCH_LIMIT))
        if self._ledger.is_urgent:
            self.settle()
        elif self._ledger.has_entries and self._settling is None:
            self._settling = self._hub.call_later(ACKNOWLEDGEMENT_DELAY, self._settle_later)
        self._wait()

    def settle(self) -> None:
        """Write all entries of the ledger. Raises redis-py's errors when the broker does not answer."""
        self._settler.settle()

    def consume(self, queues: Iterable[str]) -> None:
        """Take from these queues and no others. Raises redis-py's errors, BrokerTooOld.

        All connections that are missing are opened at once: a broker may be far away, and each takes some round trips.
        """
        wanted = {} if self._closed else dict.fromkeys(queues)
        prefix = self._channel.global_keyprefix
        for queue in self._waiters.keys() - wanted:
            waiter = self._waiters.pop(queue)
            waiter.stop()
            self._stopped.append(waiter)
            self._hungry.discard(queue)
        self._stopped = [each for each in self._stopped if not each.is_closed]
        new = [queue for queue in wanted if queue not in self._waiters]
        if not new:
            return
        _, *connections = at_once([self._link.open, *[self._pool.get_connection for _ in new]])
        for queue, connection in zip(new, connections, strict=True):
            self._waiters[queue] = Waiter(self._pool, connection, prefix, self._hub, queue, self._on_reply)
            self._hungry.add(queue)

    def stop(self) -> None:
        """Take no more messages; what is taken without having been delivered goes into the ledger, to be put back."""
        self.consume(())
        until = monotonic() + STOPPING
        for waiter in self._stopped:
            waiter.finish(until)
        self._stopped.clear()

    def close(self) -> None:
        """Take no more messages. The ledger can still be written."""
        self._closed = True
        self.stop()  # one connection may be broken, and others not: what they have taken would wait for its lease
        self._link.close()
        self._pool.disconnect()

    def _call_hub(self) -> None:
        self._hub.call_soon(take_turn)

    def _settle_later(self) -> None:
        self._settling = None
        if not self._closed:
            self.settle()

    def _fetch(self, room: int) -> None:
        bands = fetch_order(self._hungry, self._turn)
        call = transport_scripts.fetch(
            limit=room,
            share=SHARE,
            list_first=list_first(self._turn),
            bands=[len(band) for band in bands],
            queues=[queue for band in bands for queue in band],
        )
        with self._link as self._run:
            fetched = self._settler.settle_and_run(call)
        match fetched:
            case None:  # the broker refuses writes
                return
            case FetchTaken():
                self._turn += 1
                if len(fetched.tags) < room:
                    self._hungry.clear()
                self._receive_now(fetched)
            case _:
                assert_never(fetched)

    def _on_reply(self, queue: str, taken: FetchTaken | None) -> None:
        """Deliver what a waiter has taken. Not what came after its queue was given up: that is put back."""
        if taken is None:
            self._hungry.add(queue)
        elif queue not in self._waiters:
            for tag, raw in zip(taken.tags, taken.messages, strict=True):
                with suppress(UnicodeDecodeError):  # another worker sets it aside, when the lease has expired
                    self._ledger.give_back(tag, queue, raw.decode())
        else:
            if len(taken.tags) == TAKEN:
                self._hungry.add(queue)
            self._receive_all(taken)

    def _receive_now(self, taken: FetchTaken) -> None:
        timers = self._hub.timer._queue  # the property ``queue`` would sort a copy
        timed = len(timers)
        self._receive_all(taken)
        if len(timers) > timed or self._hub._ready:
            # The hub has computed before these deliveries how long it may wait; new timers and calls make that wrong.
            self._hub._waker.wake()

    def _receive_all(self, taken: FetchTaken) -> None:
        for queue, tag, raw in zip(taken.queues, taken.tags, taken.messages, strict=True):
            self._receive(queue, tag, raw)

    def _receive(self, queue: str, tag: str, raw: bytes) -> None:
        """Deliver one message. A message with which that fails is set aside, so that the next one is delivered."""
        message: dict[str, Any] = {}
        try:
            message = open_message(raw)
            # The tag and the queue are those of the record, whatever the message says.
            message["properties"]["delivery_tag"] = tag
            message["queue"], message["run"] = queue, self._run
            self._deliver(message, queue)
        except BROKER_AWAY:
            self._channel.qos.reject(tag, requeue=True)
            raise
        except MessageUnreadable as unreadable:
            self._set_aside(queue, tag, unreadable.reason, unreadable.whose)
        except Exception as error:
            whose = whose_of(message.get("headers"), message.get("properties"))
            self._set_aside(queue, tag, f"it could not be delivered: {reason_of(error)}", whose)

    def _set_aside(self, queue: str, tag: str, reason: str, whose: Whose | None) -> None:
        unreadable_messages.set_aside(tag, queue, reason, whose)
        self._channel.qos.forget(tag)

    def _wait(self) -> None:
        """Wait for messages in every queue that is not known to have one. Raises when a reply is overdue."""
        now = monotonic()
        idle = [each for queue, each in self._waiters.items() if each.asked is None and queue not in self._hungry]
        if idle:
            # What all waiters may take fills no more than half of the worker.
            take = self._channel.qos.spare() >= 2 * TAKEN * len(self._waiters)
            for waiter in idle:
                waiter.ask(now, take=take)
        if now > self._check_at:
            self._check_at = now + OVERDUE
            for waiter in self._waiters.values():
                waiter.check(now)


def take_turn() -> None:
    """Do nothing. Calling it wakes the hub, which then takes its turn."""
