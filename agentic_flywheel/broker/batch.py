"""Send the Redis calls of one event loop in batches: calls that arrive while a batch is under way form the next one.

Thousands of coroutines share one connection and one round trip per batch. Scripts are called by their digest. They are
loaded again where the server does not know the digest, for example after its restart.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from agentic_flywheel.broker.clients import client_of, place_of
from agentic_flywheel.broker.declaration import Script
from agentic_flywheel.broker.exchange import OneConnection
from agentic_flywheel.broker.packed import LONGEST_PAUSE, PackedCall, Pauses, fail_all, packed
from agentic_flywheel.broker.prefixes import below, prefix_of, without
from agentic_flywheel.broker.refusals import UNDECODABLE, UNKNOWN, Remedy, refusal_of
from agentic_flywheel.broker.versions import ServerTooOld
from agentic_flywheel.errors import BrokerRefused, BrokerUnavailable, FlywheelError

logger = logging.getLogger(__name__)

#: Most calls in one batch.
_MAX_BATCH = 500


def connect(
    url: str,
    *,
    prefix: str = "",
    timeout: timedelta = timedelta(seconds=5),
    protocol: int = 3,
    undecodable: str = "strict",
) -> Redis:
    """Return a client whose calls end within ``timeout`` and are not retried by redis-py.

    ``prefix``: of all its keys: see ``prefixes``.

    ``undecodable``: what is made of what is not UTF-8, as ``bytes.decode`` takes it.

    ``protocol`` is the version of Redis's reply protocol. With version 3, redis-py formats every published message for
    its log, which costs time in processes that receive many.
    """
    seconds = timeout.total_seconds()
    return client_of(
        url,
        prefix=prefix,
        seconds=seconds,
        connect_seconds=min(seconds, 2.0),
        encoding_errors=undecodable,
        health_check_interval=0,
        protocol=protocol,
    )


#: Seconds between two failures beyond which they belong to two times in which the broker was silent.
_ONE_SILENCE = 30.0


class Batch:
    """Sends calls in batches over one client.

    ``patience`` is how long a call is repeated while the broker is away, or refuses it for a while; every script is
    safe to repeat. With zero, the first failure is raised. One attempt to connect serves all waiting calls. Where only
    a person can help, a call without patience fails at once; a patient call is repeated meanwhile.
    """

    def __init__(self, client: Redis, *, patience: timedelta = timedelta(0)) -> None:
        self.client = client
        self.patience = patience.total_seconds()
        self.address = place_of(client)
        #: What all keys have before the names that calls give.
        self.prefix = prefix_of(client)
        self._waiting: deque[PackedCall] = deque()
        #: Calls whose replies are awaited.
        self._sent: list[PackedCall] = []
        #: Calls that the server refused for a while. They are sent again after a pause.
        self._refused: list[PackedCall] = []
        self._refusing = Pauses()
        self._again: asyncio.TimerHandle | None = None
        #: The loop that this batch belongs to: that of its first call.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection = OneConnection(client)
        #: Connects anew, with pauses between its attempts.
        self._connecting: asyncio.Task[None] | None = None
        self._losing = Pauses()
        self._hurry = asyncio.Event()
        #: Whether what waits is sent in the loop's next lap.
        self._is_due = False
        #: Whether the server has become a replica. A new connection to the same name may lead to the new primary.
        self._moved = False
        #: Whether the broker was connected at least once.
        self.reached = False
        #: When it first and last gave no answer, by the monotonic clock; None since it has answered.
        self._silence: tuple[float, float] | None = None

    async def call(self, *command: Any, patience: float | None = None) -> Any:
        """Return the reply to one Redis command.

        Raises BrokerUnavailable, after which the command may have been carried out; BrokerRefused; InvalidQuery for a
        text that cannot be sent.
        """
        seconds = self.patience if patience is None else patience
        if self._loop is None:
            self._loop = asyncio.get_running_loop()  # on Python 3.11 a system call each time
        reply = self._loop.create_future()
        give_up = time.monotonic() + seconds if seconds else 0.0
        sent = below(self.prefix, command) if self.prefix else command
        call = PackedCall(packed(sent), reply, give_up, is_script=command[0] == "EVALSHA")
        self._waiting.append(call)
        self._send_soon(self._loop)
        if not seconds:
            self._hurry.set()
        replied = await reply
        return [replied[0], without(self.prefix, replied[1])] if command[0] == "SCAN" else replied

    async def run(self, script: Script, *args: str | int | float, patience: float | None = None) -> Any:
        """Return the reply of a script; ``patience`` as for ``call``. Raises BrokerUnavailable, BrokerRefused."""
        digest = script.digests.get(self.prefix) or await self._load(script, patience)
        while True:
            try:
                return await self.call("EVALSHA", digest, 0, *args, patience=patience)
            except NoScriptError:
                await self._load(script, patience)

    async def _load(self, script: Script, patience: float | None) -> str:
        digest: str = await self.call("SCRIPT", "LOAD", script.source_below(self.prefix), patience=patience)
        script.digests[self.prefix] = digest
        return digest

    @property
    def silent_for(self) -> float:
        """For how many seconds the broker has answered no call; 0 where it answered the last one."""
        return time.monotonic() - self._silence[0] if self._silence is not None else 0.0

    @property
    def descriptor(self) -> int | None:
        """The file descriptor of the connection; None while there is none."""
        return self._connection.descriptor

    async def close(self) -> None:
        """Send what is waiting, for two seconds at most, then close the connection. What is left fails."""
        replies = [call.reply for call in (*self._sent, *self._waiting, *self._refused)]
        if replies:
            await asyncio.wait(replies, timeout=2)
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting], timeout=1)
        if self._again is not None:
            self._again.cancel()
        fail_all(_closed(self.address), self._sent, self._waiting, self._refused)
        await self._connection.close()
        await self.client.aclose()

    def _send_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have what waits sent: in the loop's next lap, together, and after the loop has looked at its sockets."""
        if self._connection.line is None:
            if self._connecting is None or self._connecting.done():
                self._connecting = loop.create_task(self._connect(loop))
        elif not (self._sent or self._is_due):
            self._is_due = True
            loop.call_soon(self._send, loop)

    def _send(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_due = False
        line = self._connection.line
        if line is None:
            self._send_soon(loop)
        elif self._waiting and not self._sent:
            self._sent = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MAX_BATCH))]
            # Packed by hiredis: redis-py's own packing would be half the cost of a submission.
            line.send([call.packed for call in self._sent], partial(self._told, loop))

    def _told(self, loop: asyncio.AbstractEventLoop, told: list[Any] | Exception) -> None:
        """Take the replies of one batch, or what has ended the line."""
        calls, self._sent = self._sent, []
        if isinstance(told, Exception):
            self._connection.drop()
            self._note_failure(calls, told)
        else:
            if self._losing.length:
                self._losing.reset()
            self._silence = None
            for call, value in zip(calls, told, strict=True):
                self._settle(call, value)
            if self._moved:
                self._connection.drop()
            if not self._refused:
                if self._refusing.length:
                    self._refusing.reset()
            elif self._again is None:
                self._again = loop.call_later(self._refusing.next(), self._repeat_refused, loop)
        if self._waiting:
            self._send(loop)

    def _repeat_refused(self, loop: asyncio.AbstractEventLoop) -> None:
        self._again = None
        self._waiting.extend(self._refused)
        self._refused = []
        self._send_soon(loop)

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> None:
        """Connect for the calls that wait, again and again while one of them is patient."""
        while self._waiting and self._connection.line is None:
            if self._losing.length:  # not waited for by a call without patience
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._hurry.wait(), self._losing.length)
            try:
                await self._connection.open(loop)
            except asyncio.CancelledError:
                fail_all(_closed(self.address), self._waiting)
                raise
            except Exception as failure:
                self._note_failure([], failure)
            else:
                self._moved, self.reached = False, True
                self._send(loop)

    def _note_failure(self, calls: list[PackedCall], failure: Exception) -> None:
        """Keep the calls that may be sent again for the next attempt, and fail the others."""
        self._hurry.clear()
        if isinstance(failure, RedisError | OSError):
            self._put_back(calls, failure, self._losing.next())
        else:
            # Such as an answer that is not Redis's at all: another server listens there.
            logger.error("the broker's answer cannot be read", exc_info=failure)
            reason = f"its answer cannot be read ({type(failure).__name__}): is it Redis that listens there?"
            fail_all(BrokerRefused(self.address, "UNREADABLE", reason), calls, self._waiting)
        if not self._waiting:
            self._losing.reset()

    def _put_back(self, calls: list[PackedCall], failure: RedisError | OSError, pause: float) -> None:
        """Keep the calls that may be sent again, in their order, and fail the others."""
        now = time.monotonic()
        began, last = self._silence or (now, now)
        # Of a time without calls it is not known whether the broker was there.
        self._silence = (began if now - last < _ONE_SILENCE else now, now)
        error = error_of(self.address, failure)
        everything = [*calls, *self._waiting]
        self._waiting.clear()
        for call in everything:
            if isinstance(error, BrokerRefused):  # redis-py takes a wrong password for a lost connection
                call.refused = error
            if call.may_wait(pause):
                self._waiting.append(call)
            else:
                call.fail(call.refused or error)

    def _settle(self, call: PackedCall, value: Any) -> None:
        if call.reply.done():
            return
        if not isinstance(value, Exception):
            call.reply.set_result(value)
            return
        refusal = refusal_of(value)
        if isinstance(value, NoScriptError):
            call.fail(value)
        elif isinstance(value, UnicodeDecodeError):
            reason = "what it holds there is not UTF-8: another program has written it"
            call.fail(BrokerRefused(self.address, UNDECODABLE, reason))
        elif call.may_be_repeated(refusal) and call.may_wait(LONGEST_PAUSE):
            if not self._refused:
                logger.warning("the broker refuses calls, they are repeated: %s", refusal.meaning if refusal else value)
            self._refused.append(call)
            self._moved = self._moved or (refusal is not None and refusal.remedy is Remedy.RECONNECT)
        else:
            call.fail(error_of(self.address, value))


def _closed(address: str) -> BrokerUnavailable:
    return BrokerUnavailable(address, "the connection was closed")


def error_of(address: str, failure: Exception) -> FlywheelError:
    """Return the error of ours for a missing answer or a refusal of the broker at ``address``."""
    if isinstance(failure, ServerTooOld):
        return failure.refused
    refusal = refusal_of(failure)
    if refusal is None:
        return BrokerUnavailable(address, str(failure).strip().rstrip(".")[:200] or type(failure).__name__)
    if refusal.remedy is Remedy.PERSON:
        # Of a command that it does not know it repeats the arguments, such as a script or a question.
        said = str(failure).partition(", with args beginning with")[0][:200]
        reason = f"{refusal.meaning}: {said}" if refusal is UNKNOWN else refusal.meaning
        return BrokerRefused(address, refusal.code, reason)
    return BrokerUnavailable(address, refusal.meaning)
