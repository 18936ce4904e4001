"""Wake callers when the broker publishes news of their queries: one pub/sub connection for all of a process."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

from redis.asyncio.client import PubSub
from redis.exceptions import InvalidResponse, RedisError

from agentic_flywheel.broker.batch import connect
from agentic_flywheel.broker.exchange import descriptor_of

logger = logging.getLogger(__name__)

#: Seconds without a message after which the broker is pinged.
_PING_AFTER = 3.0
#: Seconds without a message after which the connection is given up and made anew.
_GONE_AFTER = 9.0
#: Seconds after which every bell is set without a message: a record that was removed tells nobody.
_LOOK_AFTER = 30.0
#: Seconds to wait for the reader's end.
_END = 2.0


class Bell(asyncio.Event):
    """An event that is set when there is news to read."""

    #: The rest of the message, behind the key: an answer that was published with the end of its query.
    told: str = ""
    #: Number of the connection over which its channel was heard first.
    connection: int = 0


class Listener:
    """Sets a bell when its channel publishes; after a lost connection, every bell, because a message may be missed."""

    def __init__(self, redis_url: str, prefix: str = "") -> None:
        """``prefix``: of all channels."""
        self._url, self._prefix = redis_url, prefix
        self._bells: dict[str, dict[str, set[Bell]]] = {}
        self._confirmed: dict[str, asyncio.Event] = {}
        self._pubsub: PubSub | None = None
        self._reader: asyncio.Task[None] | None = None
        self._closing = False
        #: When the broker was last heard, on the monotonic clock.
        self._heard = 0.0
        #: Number of the connection, the last one where there is none.
        self._connection = 0

    @asynccontextmanager
    async def watch(self, channel: str, key: str = "") -> AsyncIterator[Bell]:
        """Yield a bell that is set when ``channel`` publishes ``key``; with no key, at every message.

        The first line of a message is its key; the lines behind it become the bell's ``told``. The subscription is in
        force when the block starts. If the broker is away, the block starts without it, after two seconds at most, and
        the bell is set when the broker is back.
        """
        bell = Bell()
        bells = self._bells.setdefault(channel, {})
        bells.setdefault(key, set()).add(bell)
        try:
            await self._subscribed(channel)
            bell.connection = self._connection
            yield bell
        finally:
            bells[key].discard(bell)
            if not bells[key]:
                del bells[key]

    async def forget(self, channel: str) -> None:
        """End the subscription to a channel that nobody watches any more."""
        if not self._bells.get(channel):
            self._bells.pop(channel, None)
            if self._confirmed.pop(channel, None) is not None and self._pubsub is not None:
                try:
                    await self._pubsub.unsubscribe(*self._in_full([channel]))
                except Exception as failure:
                    logger.debug("unsubscribed by a lost connection: %r", failure)

    def heard_all(self, bell: Bell) -> bool:
        """Whether the broker was there all the time since the bell was watched."""
        return self._pubsub is not None and self._connection == bell.connection

    @property
    def descriptor(self) -> int | None:
        """The file descriptor of the connection; None while there is none."""
        return descriptor_of(self._pubsub.connection) if self._pubsub is not None else None

    async def close(self) -> None:
        """Close the connection. Every bell is set for the last time: whoever waits looks and finds it closed."""
        self._closing = True
        if self._reader is not None:
            self._reader.cancel()
            # redis-py may take a cancellation for a time-out of its own. Then the reader ends at its next round.
            await asyncio.wait([self._reader], timeout=_END)
        self._ring_all()

    async def _subscribed(self, channel: str) -> None:
        confirmed = self._confirmed.get(channel)
        if confirmed is None:
            confirmed = self._confirmed[channel] = asyncio.Event()
            if self._reader is None or self._reader.done():
                self._reader = asyncio.create_task(self._read())
            elif self._pubsub is not None:
                try:
                    await self._pubsub.subscribe(*self._in_full([channel]))
                except Exception as failure:
                    logger.debug("subscribed again once the broker is back: %r", failure)
        if not confirmed.is_set():
            try:
                async with asyncio.timeout(2):
                    await confirmed.wait()
            except TimeoutError:
                logger.debug("no confirmation for %s yet", channel)

    async def _read(self) -> None:
        logged: type[Exception] | None = None
        while self._confirmed and not self._closing:
            client = connect(self._url, timeout=timedelta(seconds=_GONE_AFTER), protocol=2)
            try:
                async with client.pubsub() as pubsub:
                    wanted = list(self._confirmed)
                    await pubsub.subscribe(*self._in_full(wanted))
                    self._pubsub = pubsub
                    self._connection += 1
                    if late := [channel for channel in self._confirmed if channel not in wanted]:
                        await pubsub.subscribe(*self._in_full(late))
                    self._ring_all()
                    await self._follow(pubsub)
            except (RedisError, OSError) as failure:
                logger.debug("the broker's channel was lost: %s", failure)
            except Exception as fault:
                # Whoever waits here would wait for ever without this task. One traceback for each kind of fault.
                again = type(fault) is logged
                logger.error("the broker's channel met an unexpected fault, it is read anew", exc_info=not again)
                logged = type(fault)
            finally:
                self._pubsub = None
                with suppress(Exception):
                    await client.aclose()
            for confirmed in self._confirmed.values():
                confirmed.set()  # whoever waits for it goes on at once: what it does next tells it what is wrong
                confirmed.clear()
            await asyncio.sleep(random.uniform(0.1, 0.5))

    async def _follow(self, pubsub: PubSub) -> None:
        self._heard = rung = time.monotonic()
        # Silence is watched by a task of its own: a time-out for each message would cost more CPU than the message.
        hearing = asyncio.create_task(self._hear(pubsub))
        try:
            while not (await asyncio.wait([hearing], timeout=_PING_AFTER))[0]:
                now = time.monotonic()
                if now - rung > _LOOK_AFTER:
                    rung = now
                    self._ring_all()
                silence = now - self._heard
                if silence > _GONE_AFTER:
                    raise ConnectionError("the broker is silent")
                if silence >= _PING_AFTER:
                    await pubsub.ping()
            await hearing
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)

    async def _hear(self, pubsub: PubSub) -> None:
        while True:
            try:
                said = await pubsub.get_message(timeout=None)
            except (IndexError, KeyError, TypeError) as senseless:  # redis-py takes apart what is no message
                raise InvalidResponse("the server's reply is no message of a channel") from senseless
            self._heard = time.monotonic()
            if said is None:
                continue
            channel = said["channel"].removeprefix(self._prefix) if said["channel"] else ""
            if said["type"] == "message":
                self._ring(channel, said["data"])
            elif said["type"] == "subscribe" and (confirmed := self._confirmed.get(channel)):
                confirmed.set()
                # A message may have been published before the subscription was in force.
                self._ring_all(channel)

    def _in_full(self, channels: list[str]) -> list[str]:
        return [f"{self._prefix}{channel}" for channel in channels]

    def _ring(self, channel: str, said: str) -> None:
        bells = self._bells.get(channel, {})
        key, _, told = said.partition("\n")
        for bell in bells.get(key, ()):
            bell.told = told
            bell.set()
        for bell in bells.get("", ()):
            bell.set()

    def _ring_all(self, *channels: str) -> None:
        """Set every bell of these channels, or of all channels where none is named."""
        for channel in channels or self._bells:
            for ringing in self._bells.get(channel, {}).values():
                for bell in ringing:
                    bell.set()
