"""Wait for a message in one list, and take it as soon as it is there."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from time import monotonic
from typing import Any, assert_never

from hiredis import pack_command
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from agentic_flywheel.broker import transport_scripts
from agentic_flywheel.broker.calls import ScriptCall
from agentic_flywheel.broker.transport_scripts import FetchTaken
from workers.engine.link import evalsha, wait_in_kernel

logger = logging.getLogger(__name__)

#: Seconds after which the server replies that no message has come.
WAIT = 5
#: Seconds by which a reply may be late before its connection counts as broken.
OVERDUE = 5.0
#: Most messages that a waiter takes. With one, each reply would say that there may be more.
TAKEN = 2
#: Seconds until the list is looked into after the server has refused to wait.
AFTER_REFUSAL = 0.3


class Waiter:
    """Waits for one list on a connection of its own.

    The command that waits leaves the message where it is. Behind it, in the same write, goes the script that takes: the
    server runs it as soon as the wait is over, so the message comes with the first reply, and no step of it is lost
    with this process.
    """

    def __init__(
        self,
        pool: Any,
        connection: Any,
        prefix: str,
        hub: Any,
        queue: str,
        on_reply: Callable[[str, FetchTaken | None], object],
    ) -> None:
        """``on_reply`` is called with the queue's name and what was taken; None: somebody has to look into the list.

        ``connection``: of ``pool``, to which it goes back. ``prefix``: of all keys.
        """
        self._hub, self._queue, self._on_reply = hub, queue, on_reply
        self._pool, self._connection = pool, connection
        wait_in_kernel(self._connection)
        #: Whether the end of what is sent can be told alone, without which taking could not be stopped: not with TLS.
        self._can_take = type(connection._sock) is socket.socket
        key = f"{prefix}{queue}"
        waiting: tuple[Any, ...] = ("BLMOVE", key, key, "RIGHT", "RIGHT", WAIT)
        self._only_wait = [pack_command(waiting)]
        self._wait_and_take = [*self._only_wait, pack_command(evalsha(self._taking(), prefix))]
        self._fd: int = self._connection._sock.fileno()
        #: When the server was asked to wait; None while it is not waiting.
        self.asked: float | None = None
        #: Whether the server takes when the wait is over.
        self._takes = False
        self._is_stopped = self._was_refused = False
        self.is_closed = False
        hub.add_reader(self._fd, self._read)

    def ask(self, now: float, *, take: bool) -> None:
        """Ask the server to wait, and then to ``take`` TAKEN messages at most. Its replies come through the hub."""
        self._takes = take and self._can_take
        packed = self._wait_and_take if self._takes else self._only_wait
        # A reply comes at least every ``WAIT`` seconds: nothing else is to be asked to know that the connection lives.
        self._connection.send_packed_command(packed, check_health=False)
        self.asked = now

    def check(self, now: float) -> None:
        """Raise redis-py's ConnectionError when a reply is overdue: the connection is lost without notice."""
        if self.asked is not None and now - self.asked > WAIT + OVERDUE:
            raise RedisConnectionError(f"no reply from the broker for {now - self.asked:.0f} s")

    def stop(self) -> None:
        """Wait no longer. What the server has taken before it hears of this still comes, then the waiter is closed."""
        self._is_stopped = True
        if self.asked is None or not self._takes or not self._connection.is_connected:
            self.close()
            return
        try:
            self._connection._sock.shutdown(socket.SHUT_WR)
        except OSError:  # it is broken
            self.close()

    def finish(self, until: float) -> None:
        """After ``stop``: return when the waiter is closed, or at ``until`` by the monotonic clock."""
        while not self.is_closed:
            self._connection._sock.settimeout(max(until - monotonic(), 0.01))
            self._read()

    def close(self) -> None:
        """Stop waiting and give the connection back. What is taken meanwhile comes again when its lease expires."""
        if self.is_closed:
            return
        self.is_closed = True
        if self._connection.is_connected:
            self._hub.remove(self._fd)
        self._connection.disconnect()
        self._pool.release(self._connection)

    def _read(self) -> None:
        try:
            found = self._reply()
            taken = self._reply() if self._takes else None
        except (RedisConnectionError, RedisTimeoutError, OSError):
            if not self._is_stopped:
                raise
            self._hub.remove(self._fd)
            self.close()
            return
        if refused := isinstance(found, ResponseError):
            if not self._was_refused:
                logger.error("the broker refuses to wait for messages in %s: %s", self._queue, found)
            # Out of memory, for instance; then look into the list without being told.
            self._hub.call_later(AFTER_REFUSAL, self._look)
        else:
            self.asked = None
        self._was_refused = refused
        if isinstance(taken, list):
            self._tell(taken)
        elif not refused and (found is not None or taken is not None):  # who looks into the list meets a refusal, too
            self._look()

    def _tell(self, reply: list[Any]) -> None:
        taken = self._taking().read(reply)
        match taken:
            case FetchTaken():
                self._on_reply(self._queue, taken)
            case _:
                assert_never(taken)

    def _taking(self) -> ScriptCall[transport_scripts.FetchReply]:
        return transport_scripts.fetch(limit=TAKEN, share=TAKEN, list_first=True, bands=[1], queues=[self._queue])

    def _reply(self) -> Any:
        try:
            return self._connection.read_response()
        except ResponseError as refusal:
            return refusal

    def _look(self) -> None:
        self.asked = None
        if not self._is_stopped:
            self._on_reply(self._queue, None)
