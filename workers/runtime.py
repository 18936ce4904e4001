"""What one worker process has open: broker, catalog, router, Flowise, and the loops that time drives."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr
from redis.exceptions import RedisError

from agentic_flywheel import wire
from agentic_flywheel.batch import Batch, connect
from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.errors import BrokerUnavailable, FlywheelError
from agentic_flywheel.flowise import FlowiseClient
from agentic_flywheel.models import Query
from agentic_flywheel.profiles import Profile, ProfileWatch
from agentic_flywheel.records import load_records
from agentic_flywheel.registry import CatalogWatch
from agentic_flywheel.routing import FittedRouter, RouterSlot, strong_encoder
from agentic_flywheel.scores import keep_sending
from agentic_flywheel.settings import Settings, flow_key, flowise_address
from agentic_flywheel.tracing import Tracer
from agentic_flywheel.transitions import Transitions
from workers.leases import Leases
from workers.roots import OwedRoots

if TYPE_CHECKING:
    from agentic_flywheel.metrics import MetricsServer

logger = logging.getLogger(__name__)

#: A worker repeats a call for as long as the broker may be away; what it holds is safe meanwhile.
PATIENCE = timedelta(hours=1)


class Runtime:
    """One worker's resources. ``open`` and ``close`` on the loop that runs the tasks."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.watch = CatalogWatch(settings.registry)
        self.slot = RouterSlot(self.watch.current(), stronger=strong_encoder, cache_dir=settings.home / "routers")
        self.watch.on_change(self.slot.refit)
        self.profiles = ProfileWatch(settings.profiles)
        self.roots = OwedRoots()
        # A worker that traces nothing owes no roots: see `Transitions`.
        left = self.roots.left if settings.tracing_enabled else None
        self.tracer = Tracer.from_settings(settings, service="flywheel-worker", on_left=left)
        self.draw = random.Random()
        self._tracing: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self.batch = Batch(connect(self.settings.redis_url), patience=PATIENCE)
        tracing = self.settings.tracing_enabled
        self.transitions = Transitions(self.batch, self.settings, worker=self.roots.worker if tracing else "")
        self.leases = Leases(self.transitions)
        self.flowise = FlowiseClient(flowise_address(self.settings))
        loops = (self._sweep, self.leases.keep, self._listen, self._send_scores, self._settle_roots)
        self._loops = [asyncio.create_task(_forever(loop)) for loop in loops]
        self._metrics = await self._serve_metrics()

    async def close(self) -> None:
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        if self._tracing:
            await asyncio.wait(self._tracing, timeout=1)
        if self._metrics is not None:
            await self._metrics.close()
        await self.flowise.close()
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
        return None if query.profile is None else self.profiles.get(query.profile, query.user)

    def private(self, query: Query) -> bool:
        """Whether a query's texts stay out of traces: its profile is confidential, or not known here (any more)."""
        try:
            profile = self.profile_of(query)
        except FlywheelError:
            return True
        return profile is not None and profile.confidential

    def key_of(self, flow: Flow) -> SecretStr | None:
        """Return the API key for a flow."""
        return flow_key(flow.api_key_env, self.settings.flowise_api_key)

    def trace_attached(self, query_ids: Sequence[str], leader: str) -> None:
        """Trace queries that ended by another one's answer."""
        if self.settings.tracing_enabled:
            self._later(self._trace_all(query_ids, leader))

    def trace_ended(self, query_ids: Sequence[str]) -> None:
        """Trace queries that ended without an answer."""
        if self.settings.tracing_enabled:
            self._later(self._trace_all(query_ids, None))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tracing.add(task)
        task.add_done_callback(self._tracing.discard)

    async def _trace_all(self, query_ids: Sequence[str], leader: str | None) -> None:
        for query_id, record in zip(query_ids, await load_records(self.batch, query_ids), strict=True):
            if record is None:
                self.roots.left([query_id])
                continue
            asked = record.query
            trace = self.tracer.trace(
                record.query_id, session=asked.session_id, user=record.owner, private=self.private(asked)
            )
            if leader is not None:
                trace.observe(
                    "attach", start=nanoseconds(record.created), end=nanoseconds(record.finished), link=leader
                )
            trace.root(record)

    async def _sweep(self) -> None:
        while True:
            swept = await self.transitions.sweep(self.catalog)
            if swept.ended:
                self.trace_ended(swept.ended)
            # Several workers sweep; jitter spreads them.
            await asyncio.sleep(swept.next_ms / 1000 * self.draw.uniform(0.8, 1.2))

    async def _settle_roots(self) -> None:
        await self.roots.keep_settling(self.batch)

    async def _send_scores(self) -> None:
        if self.settings.langfuse_login is None:
            await asyncio.Event().wait()
        await keep_sending(self.batch, self.settings)

    async def _serve_metrics(self) -> MetricsServer | None:
        if self.settings.metrics_port is None:
            return None
        from agentic_flywheel.metrics import MetricsServer

        server = MetricsServer(self.batch, self.watch.current, tracer=self.tracer)
        try:
            port = await server.start(self.settings.metrics_port)
        except OSError as taken:  # queries are answered without it
            logger.warning("no figures for Prometheus: %s", taken)
            return None
        logger.info("figures for Prometheus at http://127.0.0.1:%d/metrics", port)
        return server

    async def _listen(self) -> None:
        async with connect(self.settings.redis_url, timeout=timedelta(days=1)).pubsub() as channel:
            await channel.subscribe(wire.CONTROL_CHANNEL)
            async for told in channel.listen():
                command, _, name = str(told["data"]).partition(" ")
                if command == "cancel":
                    self.leases.stop_query(name)


async def _forever(loop: Callable[[], Awaitable[None]]) -> None:
    """Run a loop again when the broker took it down. What it missed meanwhile, its next round makes good."""
    while True:
        try:
            await loop()
        except (BrokerUnavailable, RedisError, OSError) as failure:
            logger.warning("%s pauses: %s", loop.__qualname__, failure)
            await asyncio.sleep(random.uniform(0.2, 1.0))


def nanoseconds(moment: datetime | None) -> int:
    """Return a moment as nanoseconds since 1970; now, where it is not known."""
    return int(moment.timestamp() * 1e9) if moment is not None else time.time_ns()
