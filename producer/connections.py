"""What the producers of one process share: the broker, news of queries, the registry, the profiles, the traces."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import time
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from agentic_flywheel.access.limits import OwnLimits
from agentic_flywheel.asker import Asker
from agentic_flywheel.broker.batch import Batch, connect
from agentic_flywheel.broker.blobs import Blobs
from agentic_flywheel.broker.stops import Stops
from agentic_flywheel.broker.transitions import Transitions
from agentic_flywheel.catalog import Catalog
from agentic_flywheel.errors import BrokerUnavailable, LoopInUse, ProducerClosed
from agentic_flywheel.forks import mind
from agentic_flywheel.ids import new_query_id
from agentic_flywheel.settings import Settings
from agentic_flywheel.stack import stack_settings
from agentic_flywheel.tracing import Tracer
from producer.listener import Listener

if TYPE_CHECKING:
    from agentic_flywheel.profiles import ProfileWatch
    from agentic_flywheel.registry import CatalogWatch

#: Seconds for which a caller who waits for an answer bears a broker that is away.
PATIENCE = 60.0
#: Seconds for which a patient submission is repeated while the broker is away: longer than a restart of it takes.
SUBMIT_PATIENCE = 20.0
#: Seconds between two attempts of a call that is repeated.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0

T = TypeVar("T")


class _LoopConnections:
    """The connections of one event loop in one process. Nothing is connected before the first call."""

    def __init__(self, settings: Settings) -> None:
        self.process, self.loop = os.getpid(), asyncio.get_running_loop()
        mind(self.loop)
        self.batch = Batch(connect(settings.redis_url, prefix=settings.key_prefix))
        self.transitions = Transitions(self.batch, settings)
        self.blobs = Blobs(self.batch, settings)
        self.listener = Listener(settings.redis_url, settings.key_prefix)
        #: The eight hex digits with which the ids of this process's queries begin.
        self.prefix = secrets.token_hex(4)

        _living.add(self)

    def serve_here(self) -> bool:
        return self.loop is asyncio.get_running_loop() and self.process == os.getpid()

    def leave_to_parent(self) -> None:
        """In a forked child: have what closes these connections later close nothing of the parent's."""
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in filter(None, (self.batch.descriptor, self.listener.descriptor)):
            os.dup2(null, descriptor)
        os.close(null)


_living: weakref.WeakSet[_LoopConnections] = weakref.WeakSet()


def _after_fork() -> None:
    # A transport that is collected takes its socket out of its loop's `epoll` object, which the processes share: the
    # parent would hear no answer any more. Over TLS it would also say goodbye to the server.
    for each in list(_living):
        each.leave_to_parent()


os.register_at_fork(after_in_child=_after_fork)


class Connections:
    """Connects when something is asked; registry and profiles are read when a query needs them.

    It connects anew in a forked child, and on a new event loop once the one before has ended.
    """

    def __init__(self, settings: Settings | None) -> None:
        """Take the settings, or those of the environment. Raises InvalidSetting."""
        self.settings = stack_settings(settings)
        self.tracer = Tracer.from_settings(self.settings, service="flywheel-producer")
        self._open: _LoopConnections | None = None
        self._closed = False

    def _here(self) -> _LoopConnections:
        """Return the connections of the running loop. Raises ProducerClosed, LoopInUse."""
        found = self._open
        if found is not None and found.serve_here():
            return found
        if self._closed:
            raise ProducerClosed
        if found is not None and found.process == os.getpid() and found.loop.is_running():
            raise LoopInUse
        self._open = _LoopConnections(self.settings)
        return self._open

    @property
    def batch(self) -> Batch:
        """Calls to the broker, on the running loop. Raises ProducerClosed, LoopInUse, as the next five do."""
        return self._here().batch

    @property
    def transitions(self) -> Transitions:
        return self._here().transitions

    @property
    def stops(self) -> Stops:
        return Stops(self.batch, self.settings)

    @property
    def blobs(self) -> Blobs:
        return self._here().blobs

    @property
    def listener(self) -> Listener:
        return self._here().listener

    def new_id(self) -> str:
        """Return an id for a query of this process; one subscription hears of all of them."""
        return new_query_id(self._here().prefix)

    def made(self, query_id: str) -> bool:
        """Whether an id came from ``new_id``."""
        return query_id.startswith(self._here().prefix)

    @cached_property
    def _watch(self) -> CatalogWatch:
        # Imported here: who only looks at a query needs no registry, and its parser takes a while.
        from agentic_flywheel.registry import CatalogWatch

        return CatalogWatch(self.settings.registry)

    @property
    def catalog(self) -> Catalog:
        """The registry in force; a changed file is noticed. Raises InvalidRegistry if it is faulty from the start."""
        return self._watch.current()

    @cached_property
    def profiles(self) -> ProfileWatch:
        """The domain profiles that are kept here, watched for changes."""
        from agentic_flywheel.profiles import ProfileWatch

        return ProfileWatch(self.settings.profiles)

    async def close(self) -> None:
        """Close the connections and send what is left of the traces, for about a second at most.

        Whoever waits for an answer meanwhile gets ProducerClosed. Closing twice does nothing.
        """
        if self._closed:
            return
        found, self._open, self._closed = self._open, None, True
        if found is not None and found.serve_here():
            await found.listener.close()
            await found.batch.close()
        await asyncio.to_thread(self.tracer.close)


@dataclass(frozen=True)
class Caller:
    """Who asks, through which program, and over which connections."""

    shared: Connections
    asker: Asker
    client: str
    #: Seconds for which a submission is repeated that a broker did not answer; 0: the first failure is the caller's.
    patience: float = 0.0
    #: Limits of the token with which the owner came.
    own: OwnLimits | None = None


async def repeated(caller: Caller, call: Callable[[], Awaitable[T]]) -> T:
    """Call until the broker answers, for the caller's patience. The call must be safe to repeat.

    A broker that was never reached is not waited for: it is not started, or its address is wrong. Nor is one that has
    been silent for longer than that: whoever comes then is told so at once.
    """
    give_up = time.monotonic() + caller.patience
    pause = _FIRST_PAUSE
    while True:
        try:
            return await call()
        except BrokerUnavailable:
            batch = caller.shared.batch
            silent = batch.silent_for > caller.patience
            if not batch.reached or silent or time.monotonic() + pause > give_up:
                raise
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(pause * 2, _LONGEST_PAUSE)
