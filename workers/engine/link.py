"""The worker's own connection to the broker: it runs scripts, several of them in one round trip."""

from __future__ import annotations

import hashlib
import re
import socket
import struct
import sys
import threading
from functools import cache
from time import monotonic
from types import TracebackType
from typing import Any, TypeVar

import redis
from hiredis import pack_command
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from agentic_flywheel.broker.calls import ScriptCall
from agentic_flywheel.broker.declaration import Script
from agentic_flywheel.broker.versions import check_server

R = TypeVar("R")
S = TypeVar("S")

#: The errors that mean "the broker does not answer". The first two are redis-py's; kombu wraps them in the third.
BROKER_AWAY = (RedisConnectionError, RedisTimeoutError, OperationalError)

#: Seconds. When the broker answers again after a gap, other workers need as long to renew their leases: until then an
#: expired lease does not mean that its worker is gone.
SETTLING_IN = 3.0
#: Seconds. The shortest time without an answer that counts as a gap; a worker contacts the broker every second.
SHORTEST_GAP = 1.2

#: Refusals that a new connection may avoid, because the address may name another server by now.
MOVED = ("READONLY", "MASTERDOWN", "NOREPLICAS", "CLUSTERDOWN")


#: Matches the name that a server gives itself at each start, in what ``INFO server`` says.
_RUN_ID = re.compile(rb"run_id:(\w+)")
_VERSION = re.compile(rb"redis_version:([\d.]+)")


class ServerRuns:
    """Counts the runs of the broker's server that this process has met: a server that starts again begins a run.

    Its file may have lost its end with the run before, so what was written then need not be there any more.
    """

    def __init__(self) -> None:
        self._run_id = b""
        self._number = 0
        self._lock = threading.Lock()

    def number_of(self, run_id: bytes) -> int:
        """Return the number of the run that a new connection has met."""
        with self._lock:
            if run_id != self._run_id:
                self._run_id = run_id
                self._number += 1
            return self._number


#: The runs that this process has met. One process is one worker.
server_runs = ServerRuns()


class BrokerLink:
    """A connection that is made again at the next call after it was lost. One call at a time, from any thread."""

    def __init__(self, pool: redis.ConnectionPool, visibility_timeout: float, prefix: str = "") -> None:
        """``visibility_timeout``: seconds after which a lease that was not renewed expires. ``prefix``: of all keys."""
        self._pool, self._prefix = pool, prefix
        #: Seconds without an answer that count as a gap. A lease is renewed at a third of its time, so none expires
        #: while the broker is silent for half of it.
        self._gap = max(SHORTEST_GAP, visibility_timeout / 2)
        self._connection: Any = None
        self._run_number = 0
        self._lock = threading.RLock()
        self._last_answer = self._steady_since = monotonic()

    @property
    def steady(self) -> bool:
        """Whether the broker has answered without a gap for so long that expired leases can be judged."""
        now = monotonic()
        return now - self._last_answer < self._gap and now - self._steady_since >= SETTLING_IN

    def __enter__(self) -> int:
        """Return the number of the server's run. All calls in the body of ``with`` go to that run, or raise.

        Raises redis-py's ConnectionError or TimeoutError when the broker does not answer.
        """
        self._lock.acquire()
        try:
            if self._connection is None:
                self._connect()
        except BaseException:
            self._lock.release()
            raise
        return self._run_number

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self._lock.release()

    def run(self, call: ScriptCall[R]) -> R | ResponseError:
        """Run a script and return its reply, or the server's refusal.

        Raises redis-py's ConnectionError or TimeoutError when the broker does not answer. The script may have run.
        """
        (reply,) = self._run(call)
        return _read(call, reply)

    def run_both(self, first: ScriptCall[R], second: ScriptCall[S]) -> tuple[R | ResponseError, S | ResponseError]:
        """Run two scripts in one round trip and return what ``run`` would return for each."""
        replies = self._run(first, second)
        return _read(first, replies[0]), _read(second, replies[1])

    def _run(self, *calls: ScriptCall[Any]) -> list[Any]:
        with self._lock:
            if self._connection is None:
                self._connect()
            replies = self._exchange(*[evalsha(call, self._prefix) for call in calls])
            self._note_answer()
            for place, reply in enumerate(replies):
                if not isinstance(reply, ResponseError):
                    continue
                if isinstance(reply, NoScriptError):  # a server that was restarted learns a script by running it
                    call = calls[place]
                    (reply,) = self._exchange(("EVAL", call.script.source_below(self._prefix), 0, *call.arguments))
                    replies[place] = reply
                if isinstance(reply, ResponseError) and str(reply).startswith(MOVED):
                    self.close()
                    raise RedisConnectionError(str(reply))
        return replies

    def open(self) -> None:
        """Connect, unless it is connected. Raises redis-py's errors, and BrokerTooOld."""
        with self:
            pass

    def close(self) -> None:
        """Close the connection. The next call opens another one."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.disconnect()
                self._pool.release(connection)

    def _connect(self) -> None:
        self._connection = self._pool.get_connection()
        wait_in_kernel(self._connection)
        (about,) = self._exchange(("INFO", "server"))
        found = _RUN_ID.search(about) if isinstance(about, bytes) else None
        if found is None:
            self.close()
            raise RedisConnectionError(f"the server does not say which run of it this is: {about}")
        if (version := _VERSION.search(about)) is not None:
            check_server(version[1].decode())
        self._run_number = server_runs.number_of(found[1])

    def _exchange(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Return the replies to commands, and the server's refusals in their places."""
        connection = self._connection
        try:
            # redis-py asks several things of each argument, and whether the connection is healthy: one that is used
            # every second has no need of that.
            connection.send_packed_command([b"".join(map(pack_command, commands))], check_health=False)
            # The parser is a private part of redis-py (checked with 8.1); the connection would raise each refusal.
            read = connection._parser.read_response
            return [read() for _ in commands]
        except OSError as broken:
            self.close()
            raise RedisConnectionError(f"the connection to the broker was lost: {broken}") from broken
        except BaseException:
            # The next call would take unread replies for its own, or meet another run of the server unawares.
            self.close()
            raise

    def _note_answer(self) -> None:
        now = monotonic()
        if now - self._last_answer > self._gap:
            self._steady_since = now
        self._last_answer = now


def wait_in_kernel(connection: Any) -> None:
    """Have the kernel bound how long a connection's socket waits, instead of Python.

    Python asks with a ``poll`` before every read and write of a socket that has a time-out, and gives the other thread
    a turn each time. A read or write that takes too long raises redis-py's ConnectionError.
    """
    sock, seconds = connection._sock, connection.socket_timeout
    # TLS waits in Python: there a read that the kernel has cut short is begun again, without end.
    if type(sock) is socket.socket and seconds and sys.platform == "linux":
        limit = struct.pack("@ll", int(seconds), int(seconds % 1 * 1e6))
        sock.settimeout(None)
        for direction in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            sock.setsockopt(socket.SOL_SOCKET, direction, limit)


def evalsha(call: ScriptCall[Any], prefix: str) -> tuple[Any, ...]:
    """Return the command that runs a script which the server knows. ``prefix``: of all keys."""
    return ("EVALSHA", _sha(call.script, prefix), 0, *call.arguments)


def _read(call: ScriptCall[R], reply: Any) -> R | ResponseError:
    return reply if isinstance(reply, ResponseError) else call.read(reply)


@cache
def _sha(script: Script, prefix: str) -> str:
    return hashlib.sha1(script.source_below(prefix).encode()).hexdigest()
