"""Redis calls of one event loop, gathered: whatever is asked for while a pipeline is under way leaves in the next one.

Thousands of coroutines share one connection and one round trip per batch. Scripts are called by digest and loaded
when the server does not know them, which is after every restart of it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections import deque
from datetime import timedelta
from functools import cache, cached_property
from importlib import resources
from typing import Any

from hiredis import pack_command
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TimeoutError,
)

from agentic_flywheel.errors import BrokerUnavailable
from agentic_flywheel.settings import without_credentials

logger = logging.getLogger(__name__)

#: What a broker that restarts, is out of memory or cut off says; it may take the same call later.
AWAY = (ConnectionError, TimeoutError, BusyLoadingError, OutOfMemoryError, ReadOnlyError, OSError)

_MAX_BATCH = 500
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


def connect(url: str, *, timeout: timedelta = timedelta(seconds=5), protocol: int = 3) -> Redis:
    """Return a client whose calls end within ``timeout`` and that leaves retrying to its caller.

    ``protocol`` is that of Redis's replies. In the third, redis-py writes every published message out for its log.
    """
    seconds = timeout.total_seconds()
    return Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=seconds,
        socket_connect_timeout=min(seconds, 2.0),
        socket_keepalive=True,
        health_check_interval=0,
        retry=Retry(NoBackoff(), 0),
        protocol=protocol,
    )


class Script:
    """One Lua script of the package, with what it uses of what the scripts share in front of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.digest = ""

    @cached_property
    def source(self) -> str:
        return _with_what_it_uses(_lua(self.name))


class Batch:
    """Sends calls in batches over one client.

    ``patience`` is how long a call is repeated while the broker is away; every script is safe to repeat. Zero: the
    first failure is the caller's, as BrokerUnavailable. Other Redis errors are faults of ours, raised as they are.
    """

    def __init__(self, client: Redis, *, patience: timedelta = timedelta(0)) -> None:
        self.client = client
        self.patience = patience.total_seconds()
        self.address = without_credentials(_url_of(client))
        self._waiting: deque[tuple[tuple[Any, ...], asyncio.Future[Any]]] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._connection: AbstractConnection | None = None

    async def call(self, *command: Any, patience: float | None = None) -> Any:
        """Return the reply to one Redis command. Raises BrokerUnavailable."""
        try:
            return await self._enqueue(command)
        except AWAY as away:
            return await self._persist(command, away, self.patience if patience is None else patience)

    async def run(self, script: Script, *args: str | int | float, patience: float | None = None) -> Any:
        """Return the reply of a script. Raises BrokerUnavailable."""
        if not script.digest:
            script.digest = await self.call("SCRIPT", "LOAD", script.source, patience=patience)
        while True:
            try:
                return await self.call("EVALSHA", script.digest, 0, *args, patience=patience)
            except NoScriptError:
                await self.call("SCRIPT", "LOAD", script.source, patience=patience)

    async def close(self) -> None:
        """Send what is waiting, then close the connection."""
        if self._sender is not None:
            await asyncio.wait([self._sender], timeout=2)
        if self._connection is not None:
            await self.client.connection_pool.release(self._connection)
        await self.client.aclose()

    def _enqueue(self, command: tuple[Any, ...]) -> asyncio.Future[Any]:
        reply = asyncio.get_running_loop().create_future()
        self._waiting.append((command, reply))
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send())
        return reply

    async def _persist(self, command: tuple[Any, ...], failure: BaseException, patience: float) -> Any:
        give_up, pause = time.monotonic() + patience, _FIRST_PAUSE
        while time.monotonic() + pause < give_up:
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, _LONGEST_PAUSE)
            try:
                return await self._enqueue(command)
            except AWAY as away:
                failure = away
        raise BrokerUnavailable(self.address, _reason(failure)) from None

    async def _send(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MAX_BATCH))]
            try:
                replies = await self._exchange([command for command, _ in batch])
            except asyncio.CancelledError:
                for _, reply in batch:
                    reply.cancel()
                raise
            except Exception as failure:
                for _, reply in batch:
                    if not reply.done():
                        reply.set_exception(failure)
                        reply.exception()  # a caller that was cancelled meanwhile does not fetch it
                continue
            for (_, reply), value in zip(batch, replies, strict=True):
                if reply.done():
                    continue
                if isinstance(value, Exception):
                    reply.set_exception(value)
                    reply.exception()
                else:
                    reply.set_result(value)

    async def _exchange(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        if self._connection is None:
            self._connection = await self.client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
        connection = self._connection
        try:
            await connection.connect()
            # Packed here: redis-py's own packing is half the cost of a submission. And one time-out for all replies,
            # which its parser reads: the connection's, with one for each, would cost more than they do.
            await connection.send_packed_command(b"".join(map(pack_command, commands)), check_health=False)
            parser: Any = connection._parser
            async with asyncio.timeout(connection.socket_timeout):
                return [await parser.read_response() for _ in commands]
        except BaseException:
            await connection.disconnect(nowait=True)
            raise


def _lua(name: str) -> str:
    text = resources.files("agentic_flywheel").joinpath("lua", f"{name}.lua").read_text("utf-8")
    return re.sub(r"^ *--.*\n", "", text, flags=re.MULTILINE)


@cache
def _shared() -> list[tuple[str, re.Pattern[str]]]:
    """Return the paragraphs that the scripts share, each with what tells that it is used."""
    paragraphs = re.split(r"\n{2,}", f"{_lua('tally')}\n{_lua('prelude')}".strip())
    names = [re.findall(r"^local (?:function )?(\w+)", each, re.MULTILINE) for each in paragraphs]
    return [(each, re.compile(rf"\b(?:{'|'.join(its)})\b")) for each, its in zip(paragraphs, names, strict=True)]


def _with_what_it_uses(script: str) -> str:
    """Put those paragraphs in front of a script that define what it names, or what these name.

    A script runs from its first line at every call: each function that stands in it is made anew and thrown away.
    """
    for paragraph, used in reversed(_shared()):
        if used.search(script):
            script = f"{paragraph}\n{script}"
    return script


def _url_of(client: Redis) -> str:
    at = client.connection_pool.connection_kwargs
    return f"redis://{at.get('host', at.get('path', 'localhost'))}:{at.get('port', 6379)}/{at.get('db', 0)}"


def _reason(failure: BaseException) -> str:
    text = str(failure).strip() or type(failure).__name__
    return text[:200] if isinstance(failure, RedisError | OSError) else type(failure).__name__
