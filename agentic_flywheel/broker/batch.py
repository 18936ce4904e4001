"""Send the Redis calls of one event loop in batches: calls that arrive while a batch is under way form the next one.

Thousands of coroutines share one connection and one round trip per batch. Scripts are called by their digest. They are
loaded again where the server does not know the digest, for example after its restart.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hiredis import pack_command
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, RedisError

from agentic_flywheel import texts
from agentic_flywheel.broker import exchange
from agentic_flywheel.broker.clients import client_of, place_of
from agentic_flywheel.broker.declaration import Script
from agentic_flywheel.broker.prefixes import below, prefix_of, without
from agentic_flywheel.broker.refusals import UNDECODABLE, UNKNOWN, Refusal, Remedy, refusal_of
from agentic_flywheel.errors import BrokerRefused, BrokerUnavailable, FlywheelError, InvalidQuery

logger = logging.getLogger(__name__)

#: Most calls in one batch.
_MAX_BATCH = 500
#: Shortest and longest pause before a call is repeated, in seconds.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


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


@dataclass(slots=True, eq=False)
class _Call:
    """One packed command that waits for its reply. It is repeated until a time of the monotonic clock; 0: never."""

    packed: bytes
    reply: asyncio.Future[Any]
    give_up: float
    is_script: bool
    #: What the server refused it with at an earlier attempt: it says more than that the last one had no answer.
    refused: BrokerRefused | None = None

    def may_be_repeated(self, refusal: Refusal | None) -> bool:
        """Whether a refusal may pass. A key that a plain command finds of another type stays as it is."""
        return refusal is not UNKNOWN and (self.is_script or refusal is None or refusal.code != "WRONGTYPE")

    def may_wait(self, seconds: float) -> bool:
        return not self.reply.done() and time.monotonic() + seconds < self.give_up

    def fail(self, error: BaseException) -> None:
        if not self.reply.done():
            self.reply.set_exception(error)
            self.reply.exception()  # marks it as fetched: the caller may have been cancelled meanwhile


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
        self._waiting: deque[_Call] = deque()
        #: Calls that the server refused for a while. They are sent again after a pause.
        self._refused: list[_Call] = []
        self._refusing = _Pauses()
        self._sender: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._connection: AbstractConnection | None = None
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
        reply = asyncio.get_running_loop().create_future()
        give_up = time.monotonic() + seconds if seconds else 0.0
        sent = below(self.prefix, command) if self.prefix else command
        call = _Call(_packed(sent), reply, give_up, is_script=command[0] == "EVALSHA")
        self._waiting.append(call)
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send())
        elif not seconds:
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
        return exchange.descriptor_of(self._connection)

    async def close(self) -> None:
        """Send what is waiting, for two seconds at most, then close the connection. What is left fails."""
        if self._sender is not None:
            await asyncio.wait([self._sender], timeout=2)
            self._sender.cancel()
            await asyncio.wait([self._sender], timeout=1)
        for call in (*self._waiting, *self._refused):
            call.fail(BrokerUnavailable(self.address, "the connection was closed"))
        if self._connection is not None:
            await self.client.connection_pool.release(self._connection)
        await self.client.aclose()

    async def _send(self) -> None:
        pauses = _Pauses()
        while self._waiting or self._refused:
            if not self._waiting:
                await self._rest(self._refusing.next())
                self._take_refused()
                continue
            calls = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MAX_BATCH))]
            try:
                replies = await self._exchange([call.packed for call in calls])
            except asyncio.CancelledError:
                for call in calls:
                    call.fail(BrokerUnavailable(self.address, "the connection was closed"))
                raise
            except (RedisError, OSError) as failure:
                pause = pauses.next()
                self._put_back(calls, failure, pause)
                if self._waiting:
                    await self._rest(pause)
                continue
            except Exception as fault:
                # Such as an answer that is not Redis's at all: another server listens there.
                logger.exception("the broker's answer cannot be read")
                reason = f"its answer cannot be read ({type(fault).__name__}): is it Redis that listens there?"
                for call in calls:
                    call.fail(BrokerRefused(self.address, "UNREADABLE", reason))
                continue
            pauses.reset()
            self._silence = None
            for call, value in zip(calls, replies, strict=True):
                self._settle(call, value)
            if not self._refused:
                self._refusing.reset()
            elif self._refusing.over():
                self._take_refused()

    async def _rest(self, seconds: float) -> None:
        """Wait before the next attempt, unless a call without patience is waiting."""
        self._hurry.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), seconds)

    def _put_back(self, calls: list[_Call], failure: RedisError | OSError, pause: float) -> None:
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

    def _settle(self, call: _Call, value: Any) -> None:
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
        elif call.may_be_repeated(refusal) and call.may_wait(_LONGEST_PAUSE):
            if not self._refused:
                logger.warning("the broker refuses calls, they are repeated: %s", refusal.meaning if refusal else value)
            self._refused.append(call)
            self._moved = self._moved or (refusal is not None and refusal.remedy is Remedy.RECONNECT)
        else:
            call.fail(error_of(self.address, value))

    def _take_refused(self) -> None:
        self._waiting.extend(self._refused)
        self._refused = []

    async def _exchange(self, commands: list[bytes]) -> list[Any]:
        if self._connection is None:
            self._connection = await self.client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
        connection = self._connection
        try:
            if self._moved or await exchange.has_ended(connection):
                self._moved = False
                await connection.disconnect(nowait=True)
            await connection.connect()
            self.reached = True
            async with asyncio.timeout(connection.socket_timeout):
                # Packed by hiredis: redis-py's own packing would be half the cost of a submission.
                await exchange.write(connection, b"".join(commands))
                return await exchange.read(connection, len(commands))
        except BaseException:
            await connection.disconnect(nowait=True)
            raise


def _packed(command: tuple[Any, ...]) -> bytes:
    """Return a command as it is sent. Raises InvalidQuery: what cannot be written is this caller's fault alone."""
    try:
        packed: bytes = pack_command(command)
        return packed
    except UnicodeEncodeError as refused:
        fault = texts.fault_in(refused.object) or "it cannot be written as UTF-8"
        raise InvalidQuery("text", fault) from None


class _Pauses:
    """Growing pauses between attempts, in seconds. They are random, so that many processes do not try at once."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._length, self._until = _FIRST_PAUSE, 0.0

    def next(self) -> float:
        pause = self._length * random.uniform(0.5, 1.0)
        self._length = min(self._length * 2, _LONGEST_PAUSE)
        self._until = time.monotonic() + pause
        return pause

    def over(self) -> bool:
        """Whether the last pause is over. If so, the next one begins. For pauses during which other calls are sent."""
        if time.monotonic() < self._until:
            return False
        self.next()
        return True


def error_of(address: str, failure: Exception) -> FlywheelError:
    """Return the error of ours for a missing answer or a refusal of the broker at ``address``."""
    refusal = refusal_of(failure)
    if refusal is None:
        return BrokerUnavailable(address, str(failure).strip()[:200] or type(failure).__name__)
    if refusal.remedy is Remedy.PERSON:
        reason = f"{refusal.meaning}: {str(failure)[:200]}" if refusal is UNKNOWN else refusal.meaning
        return BrokerRefused(address, refusal.code, reason)
    return BrokerUnavailable(address, refusal.meaning)
