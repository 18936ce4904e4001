"""Hear of queries: one pub/sub connection for a whole process, however many of its callers wait."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from agentic_flywheel.batch import connect

logger = logging.getLogger(__name__)

#: Seconds of silence after which the broker is asked for a sign, and after which it counts as gone.
_PING_AFTER, _GONE_AFTER = 3.0, 9.0


class Bell(asyncio.Event):
    """Rings when there is something to look for."""

    #: What was said beside the name that it rings for.
    told: str = ""


class Listener:
    """Rings a bell when a channel speaks; and every bell after a lost connection, since something may be missed."""

    def __init__(self, redis_url: str) -> None:
        self._url = redis_url
        self._bells: dict[str, dict[str, set[Bell]]] = {}
        self._confirmed: dict[str, asyncio.Event] = {}
        self._pubsub: PubSub | None = None
        self._reader: asyncio.Task[None] | None = None
        #: When the broker was last heard, on the monotonic clock.
        self._heard = 0.0

    @asynccontextmanager
    async def watch(self, channel: str, key: str = "") -> AsyncIterator[Bell]:
        """Yield a bell that rings when ``channel`` says ``key``, or anything where no key is given.

        What the channel says is one word, and what is ``told`` of it in the lines behind.
        When the body starts the subscription is in force; or the broker is away, and the bell rings once it is back.
        """
        bell = Bell()
        bells = self._bells.setdefault(channel, {})
        bells.setdefault(key, set()).add(bell)
        try:
            await self._subscribed(channel)
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
                    await self._pubsub.unsubscribe(channel)
                except (RedisError, OSError):
                    logger.debug("unsubscribed by a lost connection")

    async def close(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    async def _subscribed(self, channel: str) -> None:
        confirmed = self._confirmed.get(channel)
        if confirmed is None:
            confirmed = self._confirmed[channel] = asyncio.Event()
            if self._reader is None or self._reader.done():
                self._reader = asyncio.create_task(self._read())
            elif self._pubsub is not None:
                try:
                    await self._pubsub.subscribe(channel)
                except (RedisError, OSError):
                    logger.debug("subscribed again once the broker is back")
        if not confirmed.is_set():
            try:
                async with asyncio.timeout(2):
                    await confirmed.wait()
            except TimeoutError:
                logger.debug("no confirmation for %s yet", channel)

    async def _read(self) -> None:
        while self._confirmed:
            client = connect(self._url, timeout=timedelta(seconds=_GONE_AFTER), protocol=2)
            try:
                async with client.pubsub() as pubsub:
                    wanted = list(self._confirmed)
                    await pubsub.subscribe(*wanted)
                    self._pubsub = pubsub
                    if late := [channel for channel in self._confirmed if channel not in wanted]:
                        await pubsub.subscribe(*late)
                    self._ring_all()
                    await self._follow(pubsub)
            except (RedisError, OSError) as failure:
                logger.debug("the broker's channel was lost: %s", failure)
            finally:
                self._pubsub = None
                await client.aclose()
            for confirmed in self._confirmed.values():
                confirmed.clear()
            await asyncio.sleep(random.uniform(0.1, 0.5))

    async def _follow(self, pubsub: PubSub) -> None:
        self._heard = time.monotonic()
        # Silence is watched beside the reading: a time-out for each message would cost more than the message.
        hearing = asyncio.create_task(self._hear(pubsub))
        try:
            while not (await asyncio.wait([hearing], timeout=_PING_AFTER))[0]:
                silence = time.monotonic() - self._heard
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
            said = await pubsub.get_message(timeout=None)
            self._heard = time.monotonic()
            if said is None:
                continue
            if said["type"] == "message":
                self._ring(said["channel"], said["data"])
            elif said["type"] == "subscribe" and (confirmed := self._confirmed.get(said["channel"])):
                confirmed.set()
                # What was said before the subscription was in force has to be looked for.
                self._ring_all(said["channel"])

    def _ring(self, channel: str, said: str) -> None:
        bells = self._bells.get(channel, {})
        key, _, told = said.partition("\n")
        for bell in bells.get(key, ()):
            bell.told = told
            bell.set()
        for bell in bells.get("", ()):
            bell.set()

    def _ring_all(self, *channels: str) -> None:
        """Ring every bell of these channels; of all where none is named."""
        for channel in channels or self._bells:
            for ringing in self._bells.get(channel, {}).values():
                for bell in ringing:
                    bell.set()
