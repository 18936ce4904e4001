"""The worker's own connection to the broker: several scripts in one round trip, and whether contact has been steady."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from functools import cache
from time import monotonic
from typing import Any

import redis
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

#: What says that the broker is away, whoever notices it: we, or kombu for us.
BROKER_AWAY = (RedisConnectionError, RedisTimeoutError, OperationalError)

#: After a gap in contact, leases that look expired may only wait for their owners, who were cut off too, to renew them.
#: They have this many seconds.
SETTLING_IN = 3.0
#: Contact is had every second, so less is no gap.
SHORTEST_GAP = 1.2

#: States of a server that a new connection may get around: the name may stand for another server by now.
MOVED = ("READONLY", "MASTERDOWN", "NOREPLICAS", "CLUSTERDOWN")


class Call:
    """One run of a script."""

    __slots__ = ("args", "keys", "script", "sha")

    def __init__(self, script: str, keys: Sequence[str], args: Sequence[Any]) -> None:
        self.script, self.keys, self.args = script, keys, args
        self.sha = _sha(script)

    def by_sha(self) -> tuple[Any, ...]:
        return ("EVALSHA", self.sha, len(self.keys), *self.keys, *self.args)

    def in_full(self) -> tuple[Any, ...]:
        return ("EVAL", self.script, len(self.keys), *self.keys, *self.args)


class Link:
    """A connection that outlives its server: it is made again at the next call. Calls from several threads queue up."""

    def __init__(self, pool: redis.ConnectionPool, visibility_timeout: float) -> None:
        self._pool = pool
        #: Leases are renewed every third of their time, so none expires in a gap shorter than half of it.
        self._gap = max(SHORTEST_GAP, visibility_timeout / 2)
        self._connection: Any = None
        self._lock = threading.RLock()
        self._last_contact = self._steady_since = monotonic()

    @property
    def steady(self) -> bool:
        """Whether the broker has answered without a gap for long enough to judge the leases of others."""
        now = monotonic()
        return now - self._last_contact < self._gap and now - self._steady_since >= SETTLING_IN

    def run(self, *calls: Call) -> list[Any]:
        """Run scripts in one round trip. A refusal (ResponseError) is returned in the place of its answer.

        Raises redis' ConnectionError or TimeoutError when the broker is away; what was sent may have been carried out.
        """
        with self._lock:
            if self._connection is None:
                self._connection = self._pool.get_connection()
            answers = self._exchange([call.by_sha() for call in calls])
            for place, answer in enumerate(answers):
                if isinstance(answer, NoScriptError):  # a new server: it learns the script by running it
                    answers[place] = self._exchange([calls[place].in_full()])[0]
            self._note_contact()
        for answer in answers:
            if isinstance(answer, ResponseError) and str(answer).startswith(MOVED):
                self.close()
                raise RedisConnectionError(str(answer))
        return answers

    def close(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.disconnect()
                self._pool.release(connection)

    def _exchange(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        connection = self._connection
        try:
            connection.send_packed_command(connection.pack_commands(commands))
            return [self._answer() for _ in commands]
        except BaseException:
            connection.disconnect()  # unread answers would be taken for those of the next call
            raise

    def _answer(self) -> Any:
        try:
            return self._connection.read_response()
        except ResponseError as refusal:
            return refusal

    def _note_contact(self) -> None:
        now = monotonic()
        if now - self._last_contact > self._gap:
            self._steady_since = now
        self._last_contact = now


@cache
def _sha(script: str) -> str:
    return hashlib.sha1(script.encode()).hexdigest()
