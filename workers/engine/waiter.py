"""Wait for a message on a list without taking it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

#: Seconds that the server waits before it answers "nothing", and how much later that answer must be here.
WAIT, OVERDUE = 5, 5.0
#: Seconds until a refused question is asked again.
REFUSED = 0.3


class Waiter:
    """Waits on one list, without taking, on a connection of its own."""

    def __init__(self, pool: Any, hub: Any, queue: str, on_message: Callable[[str], object]) -> None:
        self._hub, self._queue, self._on_message = hub, queue, on_message
        self._pool = pool
        self._connection: Any = pool.get_connection()
        self._fd: int = self._connection._sock.fileno()
        #: When the open question was asked; None: there is none.
        self.asked: float | None = None
        hub.add_reader(self._fd, self._read)

    def ask(self, now: float) -> None:
        """Ask for a message; the answer comes later."""
        self._connection.send_command("BLMOVE", self._queue, self._queue, "RIGHT", "RIGHT", WAIT)
        self.asked = now

    def check(self, now: float) -> None:
        """Raise redis' ConnectionError when an answer is overdue: the connection is only half there."""
        if self.asked is not None and now - self.asked > WAIT + OVERDUE:
            raise RedisConnectionError(f"no answer from the broker for {now - self.asked:.0f} s")

    def _read(self) -> None:
        try:
            found = self._connection.read_response() is not None
        except ResponseError:  # refused, as when out of memory: look there without being told, but not at once
            self._hub.call_later(REFUSED, self._answered, True)
        else:
            self._answered(found)

    def _answered(self, found: bool) -> None:
        self.asked = None
        if found:
            self._on_message(self._queue)

    def close(self) -> None:
        if self._connection.is_connected:
            self._hub.remove(self._fd)
        self._connection.disconnect()
        self._pool.release(self._connection)
