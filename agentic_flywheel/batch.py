"""Redis calls of one event loop, gathered: whatever is asked for while a pipeline is under way leaves in the next one.

Thousands of coroutines share one connection and one round trip per batch. Scripts are called by digest and loaded
when the server does not know them, which is after every restart of it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from importlib import resources
from typing import Any

from redis.asyncio import Redis
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


def connect(url: str, *, timeout: timedelta = timedelta(seconds=5)) -> Redis:
    """Return a client whose calls end within ``timeout`` and that leaves retrying to its caller."""
    seconds = timeout.total_seconds()
    return Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=seconds,
        socket_connect_timeout=min(seconds, 2.0),
        socket_keepalive=True,
        health_check_interval=0,
        retry=Retry(NoBackoff(), 0),
    )


class Script:
    """One Lua script of the package, with what every script shares in front of it."""

    def __init__(self, name: str) -> None:
        folder = resources.files("agentic_flywheel").joinpath("lua")
        self.name = name
        self.source = "\n".join(folder.joinpath(f"{part}.lua").read_text("utf-8") for part in ("prelude", name))
        self.digest = ""


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

    async def call(self, *command: Any, patience: float | None = None) -> Any:
        """Return the reply to one Redis command. Raises BrokerUnavailable."""
        return await self._persist(lambda: self._enqueue(command), patience)

    async def run(self, script: Script, *args: str | int | float, patience: float | None = None) -> Any:
        """Return the reply of a script. Raises BrokerUnavailable."""
        while True:
            if not script.digest:
                script.digest = await self.call("SCRIPT", "LOAD", script.source, patience=patience)
            try:
                return await self._persist(lambda: self._enqueue(("EVALSHA", script.digest, 0, *args)), patience)
            except NoScriptError:
                await self.call("SCRIPT", "LOAD", script.source, patience=patience)

    async def close(self) -> None:
        """Send what is waiting, then close the connection."""
        if self._sender is not None:
            await asyncio.wait([self._sender], timeout=2)
        await self.client.aclose()

    def _enqueue(self, command: tuple[Any, ...]) -> asyncio.Future[Any]:
        reply = asyncio.get_running_loop().create_future()
        self._waiting.append((command, reply))
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send())
        return reply

    async def _persist(self, attempt: Callable[[], asyncio.Future[Any]], patience: float | None) -> Any:
        try:
            return await attempt()
        except AWAY as away:
            failure: BaseException = away
        patience = self.patience if patience is None else patience
        give_up, pause = time.monotonic() + patience, _FIRST_PAUSE
        while time.monotonic() + pause < give_up:
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, _LONGEST_PAUSE)
            try:
                return await attempt()
            except AWAY as away:
                failure = away
        raise BrokerUnavailable(self.address, _reason(failure)) from None

    async def _send(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MAX_BATCH))]
            try:
                pipeline = self.client.pipeline(transaction=False)
                for command, _ in batch:
                    pipeline.execute_command(*command)
                replies: list[Any] = await pipeline.execute(raise_on_error=False)
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


def _url_of(client: Redis) -> str:
    at = client.connection_pool.connection_kwargs
    return f"redis://{at.get('host', at.get('path', 'localhost'))}:{at.get('port', 6379)}/{at.get('db', 0)}"


def _reason(failure: BaseException) -> str:
    text = str(failure).strip() or type(failure).__name__
    return text[:200] if isinstance(failure, RedisError | OSError) else type(failure).__name__
