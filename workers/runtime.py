"""The resources of one worker process (broker, catalog, router, servers of flows) and its background loops."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from redis.exceptions import RedisError

from agentic_flywheel.backends.opened import Backends
from agentic_flywheel.broker import wire
from agentic_flywheel.broker.batch import Batch, connect
from agentic_flywheel.broker.blobs import Blobs
from agentic_flywheel.broker.executions import chat_id
from agentic_flywheel.broker.fault_log import FaultLog
from agentic_flywheel.broker.records import load_records
from agentic_flywheel.broker.scores import keep_sending
from agentic_flywheel.broker.stops import Stops
from agentic_flywheel.broker.transitions import Transitions
from agentic_flywheel.broker.upkeep import Upkeep
from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.errors import BrokerUnavailable, FlywheelError
from agentic_flywheel.models import Query
from agentic_flywheel.profiles import Profile, ProfileWatch
from agentic_flywheel.registry import CatalogWatch
from agentic_flywheel.routing import FittedRouter, RouterSlot, strong_encoder
from agentic_flywheel.routing.naming import names_in
from agentic_flywheel.settings import Settings
from agentic_flywheel.tracing import Tracer
from workers.aborting import Aborting
from workers.leases import Leases
from workers.prometheus import serve_metrics
from workers.query_events import QueryEvents
from workers.queues import WorkerQueues
from workers.readiness import Readiness
from workers.roots import OwedRoots

logger = logging.getLogger(__name__)

#: Seconds after which a loop says again why it pauses: while a broker is away, it tries twice a second.
_SAID_AGAIN = 30.0

#: How long a worker repeats a call while the broker is away. Its messages are safe meanwhile.
PATIENCE = timedelta(hours=1)


class Runtime:
    """One worker's resources. Call ``open`` and ``close`` on the loop that runs the tasks."""

    def __init__(self, settings: Settings, queues: WorkerQueues, readiness: Readiness, events: QueryEvents) -> None:
        """``queues``: those that this worker reads; it may begin to read others that appear."""
        self.settings, self.queues, self.readiness, self.events = settings, queues, readiness, events
        self.watch = CatalogWatch(settings.registry)
        self.slot = RouterSlot(self.watch.current(), stronger=strong_encoder, cache_dir=settings.home / "routers")
        self.watch.on_change(self.slot.refit)
        self.watch.on_change(lambda _: _say_what_is_unset(self.watch))
        self.profiles = ProfileWatch(settings.profiles)
        self.roots = OwedRoots()
        self.faults = FaultLog()
        # A worker that traces nothing has no roots to send: see `Transitions`.
        left = self.roots.left if settings.tracing_enabled else None
        self.tracer = Tracer.from_settings(settings, service="flywheel-worker", on_left=left)
        self.draw = random.Random()
        self._working: set[asyncio.Task[None]] = set()

    async def open(self, *others: Callable[[], Awaitable[None]]) -> None:
        """Connect, and start the background loops and ``others``."""
        self._loop = asyncio.get_running_loop()
        self.batch = Batch(connect(self.settings.redis_url, prefix=self.settings.key_prefix), patience=PATIENCE)
        tracing, worker = self.settings.tracing_enabled, self.roots.worker
        self.transitions = Transitions(self.batch, self.settings, worker=worker if tracing else "")
        self.stops = Stops(self.batch, self.settings)
        self.upkeep = Upkeep(self.batch, self.settings, worker=worker, traces=tracing)
        self.blobs = Blobs(self.batch, self.settings)
        self.leases = Leases(self.transitions)
        self.backends = Backends(self.settings, self.watch.current)
        self.aborting = Aborting(self.backends, self.batch, self.settings)
        loops: list[Callable[[], Awaitable[None]]] = [
            self._sweep,
            self.leases.keep,
            partial(self.leases.obey_cancels, self.settings.redis_url, self.settings.key_prefix),
            partial(_send_scores, self.batch, self.settings),
            partial(self.blobs.large.keep_clearing, self.batch),
            partial(self.roots.keep_settling, self.batch),
            partial(self.aborting.keep_ending, self.watch.current),
            *others,
        ]
        self._loops = [asyncio.create_task(_forever(loop)) for loop in loops]
        self._metrics = await serve_metrics(self.settings, self.batch, self.watch, self.tracer)
        _say_what_is_unset(self.watch)

    async def close(self) -> None:
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        if self._working:
            await asyncio.wait(self._working, timeout=1)
        if self._metrics is not None:
            await self._metrics.close()
        await self.backends.close()
        await asyncio.to_thread(self.tracer.close, 1.0)
        with suppress(BrokerUnavailable, TimeoutError):
            async with asyncio.timeout(0.5):
                await self.roots.settle(self.batch)
        await self.batch.close()

    @property
    def catalog(self) -> Catalog:
        return self.watch.current()

    @property
    def router(self) -> FittedRouter:
        return self.slot.current

    def profile_of(self, query: Query) -> Profile | None:
        """Return the profile that a query names. Raises UnknownProfile, InvalidProfile."""
        return None if query.profile is None else self.profiles.get(query.profile, query.owner)

    def private(self, query: Query) -> bool:
        """Whether a query's texts stay out of traces: its profile is confidential, or unknown to this worker."""
        try:
            profile = self.profile_of(query)
        except FlywheelError:
            return True
        return profile is not None and profile.confidential

    def take_up(self, queues: Iterable[str]) -> None:
        """Begin to read these queues too, unless this worker was told which ones to read."""
        for queue in set(queues).difference(self.queues.read):
            self.queues.take_up(queue)

    def abort_later(self, flow: Flow, query_id: str, fences: Iterable[str]) -> None:
        """Abort calls for which nobody waits any more; the caller does not wait for it."""
        self._later(self.aborting.chats(flow, [chat_id(query_id, fence) for fence in fences]))

    def note_ended(self, query_ids: Sequence[str]) -> None:
        """Tell traces and Flower of queries that ended without a call of their own: by another's, or without any."""
        if query_ids and (self.settings.tracing_enabled or self.events.wanted):
            self._later(self._note_all(query_ids))

    def soon(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work beside the tasks. Any thread may call it; it does not block."""
        self._loop.call_soon_threadsafe(self._later, work)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _note_all(self, query_ids: Sequence[str]) -> None:
        async def note(query_id: str) -> None:
            (record,) = await load_records(self.batch, [query_id])
            if record is None:
                self.roots.left([query_id])
                return
            self.events.recorded(record)
            asked = record.query
            trace = self.tracer.trace(
                record.query_id, session=asked.session_id, user=record.asker.name, private=self.private(asked)
            )
            if record.attached_to is not None and record.answer is not None:
                start, end = nanoseconds(record.created), nanoseconds(record.finished)
                trace.observe("attach", start=start, end=end, link=record.attached_to)
            trace.root(record)

        noted = await asyncio.gather(*map(note, query_ids), return_exceptions=True)
        for query_id, fault in zip(query_ids, noted, strict=True):
            # Where the broker is away, its trace stays owed; a record that cannot be read will never be.
            if isinstance(fault, Exception) and not isinstance(fault, BrokerUnavailable):
                logger.error("the end of query %s is not traced: its record cannot be read", query_id, exc_info=fault)
                self.roots.left([query_id])

    async def _sweep(self) -> None:
        while True:
            catalog = self.catalog
            await self.upkeep.announce(catalog.revision, partial(_names, catalog, self.profiles))
            swept = await self.upkeep.sweep(catalog, self.queues.read)
            self.readiness.broker_answered()
            self.faults.note(swept.faults)
            if swept.ended:
                self.note_ended(swept.ended)
                self._later(self.aborting.queries(swept.ended, catalog))
            self.take_up(band for domain in catalog.domains for band in wire.bands(wire.domain_queue(domain)))
            # Several workers sweep; a random factor keeps them apart.
            await asyncio.sleep(swept.next_ms / 1000 * self.draw.uniform(0.8, 1.2))


def _names(catalog: Catalog, profiles: ProfileWatch) -> list[str]:
    return names_in(catalog, {profile.name: profile.owners for profile in profiles.valid()})


async def _send_scores(batch: Batch, settings: Settings) -> None:
    if settings.langfuse_login is None:
        await asyncio.Event().wait()
    await keep_sending(batch, settings)


async def _forever(loop: Callable[[], Awaitable[None]]) -> None:
    """Run a loop again after any error. Its next round does what the interrupted one did not."""
    said, said_at = "", 0.0
    while True:
        try:
            await loop()
        except (BrokerUnavailable, RedisError, OSError) as failure:
            if str(failure) != said or time.monotonic() - said_at > _SAID_AGAIN:
                said, said_at = str(failure), time.monotonic()
                logger.warning("%s pauses: %s", _name(loop), failure)
        except Exception:
            logger.exception("%s met a fault that nobody foresaw, and goes on", _name(loop))
        await asyncio.sleep(random.uniform(0.2, 1.0))


def _name(loop: Callable[[], Awaitable[None]]) -> str:
    named = loop.func if isinstance(loop, partial) else loop
    return getattr(named, "__qualname__", repr(named))


def nanoseconds(moment: datetime | None) -> int:
    """Return a moment as nanoseconds since 1970; for None the present."""
    return int(moment.timestamp() * 1e9) if moment is not None else time.time_ns()


def _say_what_is_unset(watch: CatalogWatch) -> None:
    """Log the variables of the registry that this worker lacks: no other process can know it."""
    for fault in sorted({each.fault for each in watch.variables} - {""}):
        logger.warning("a variable that the registry names: %s", fault)
