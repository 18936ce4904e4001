"""Wait for a message in one list without taking it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from hiredis import pack_command
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from workers.engine.link import wait_in_kernel

logger = logging.getLogger(__name__)

#: Seconds after which the server replies that no message has come.
WAIT = 5
#: Seconds by which a reply may be late before its connection counts as broken.
OVERDUE = 5.0
#: Seconds until the list is looked into after the server has refused to wait.
AFTER_REFUSAL = 0.3


class Waiter:
    """Waits for one list on a connection of its own."""

    def __init__(
        self, pool: Any, connection: Any, prefix: str, hub: Any, queue: str, on_message: Callable[[str], object]
    ) -> None:
        """``on_message`` is called with the queue's name when the list has a message.

        ``connection``: of ``pool``, to which it goes back. ``prefix``: of the list's key.
        """
        self._hub, self._queue, self._on_message = hub, queue, on_message
        key = f"{prefix}{queue}"
        command: tuple[Any, ...] = ("BLMOVE", key, key, "RIGHT", "RIGHT", WAIT)
        self._pool, self._command = pool, [pack_command(command)]
        self._connection = connection
        wait_in_kernel(self._connection)
        self._fd: int = self._connection._sock.fileno()
        #: When the server was asked to wait; None while it is not waiting.
        self.asked: float | None = None
        self._was_refused = False
        hub.add_reader(self._fd, self._read)

    def ask(self, now: float) -> None:
        """Ask the server to wait. Its reply comes through the hub."""
        # A reply comes at least every ``WAIT`` seconds: nothing else is to be asked to know that the connection lives.
        self._connection.send_packed_command(self._command, check_health=False)
        self.asked = now

    def check(self, now: float) -> None:
        """Raise redis-py's ConnectionError when a reply is overdue: the connection is lost without notice."""
        if self.asked is not None and now - self.asked > WAIT + OVERDUE:
            raise RedisConnectionError(f"no reply from the broker for {now - self.asked:.0f} s")

    def close(self) -> None:
        """Stop waiting and give the connection back."""
        if self._connection.is_connected:
            self._hub.remove(self._fd)
        self._connection.disconnect()
        self._pool.release(self._connection)

    def _read(self) -> None:
        try:
            found = self._connection.read_response() is not None
        except ResponseError as refusal:  # out of memory, for instance; then look into the list without being told
            if not self._was_refused:
                logger.error("the broker refuses to wait for messages in %s: %s", self._queue, refusal)
            self._was_refused = True
            self._hub.call_later(AFTER_REFUSAL, self._note_reply, True)
        else:
            self._was_refused = False
            self._note_reply(found)

    def _note_reply(self, found: bool) -> None:
        self.asked = None
        if found:
            self._on_message(self._queue)
