"""The executions that this worker runs: renew their leases, and stop them when their query has ended elsewhere."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from types import TracebackType

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.batch import connect
from agentic_flywheel.broker.executions import Execution
from agentic_flywheel.broker.transitions import LEASE_MS, Transitions
from agentic_flywheel.errors import BrokerUnavailable

logger = logging.getLogger(__name__)


class RenewedLease:
    """A context manager: the execution's lease is renewed while the body runs."""

    def __init__(
        self,
        running: dict[str, tuple[Execution, asyncio.Task[object]]],
        execution: Execution,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._running, self._execution, self._name, self._loop = running, execution, execution.name, loop

    def __enter__(self) -> None:
        task = asyncio.current_task(self._loop)
        assert task is not None
        self._running[self._name] = (self._execution, task)

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        found = self._running.get(self._name)
        if found is not None and found[0] is self._execution:
            del self._running[self._name]


class Leases:
    """Holds what runs on the loop that runs when it is made. ``keep`` renews until it is cancelled."""

    def __init__(self, transitions: Transitions) -> None:
        self._transitions, self._loop = transitions, asyncio.get_running_loop()
        self._running: dict[str, tuple[Execution, asyncio.Task[object]]] = {}
        self._stopped: set[str] = set()

    def __len__(self) -> int:
        return len(self._running)

    def renewing(self, execution: Execution) -> RenewedLease:
        """Return a context manager that has the execution's lease renewed while its body runs."""
        return RenewedLease(self._running, execution, self._loop)

    def stop(self, name: str) -> None:
        """Cancel an execution's task: its query was cancelled or has expired, or another worker has its lease."""
        found = self._running.get(name)
        if found is not None:
            self._stopped.add(name)
            found[1].cancel()

    def stop_query(self, query_id: str) -> None:
        """Cancel the tasks of every execution of a query."""
        for name in [name for name in self._running if name == query_id or name.startswith(f"{query_id}|")]:
            self.stop(name)

    def was_stopped(self, execution: Execution) -> bool:
        """Return whether ``stop`` cancelled the execution; otherwise the worker shuts down. True only once."""
        stopped = execution.name in self._stopped
        self._stopped.discard(execution.name)
        return stopped

    async def keep(self) -> None:
        """Renew all leases every third of ``LEASE_MS`` until cancelled."""
        while True:
            await asyncio.sleep(LEASE_MS / 3000)
            if not self._running:
                continue
            try:
                lost = await self._transitions.renew([execution for execution, _ in self._running.values()])
            except BrokerUnavailable:
                logger.warning("the broker is away: %d leases were not renewed", len(self._running))
                continue
            for name in lost:
                self.stop(name)

    async def obey_cancels(self, redis_url: str, prefix: str) -> None:
        """Cut the queries whose cancellation the broker publishes. Raises RedisError, OSError without a connection."""
        async with connect(redis_url, timeout=timedelta(days=1)).pubsub() as channel:
            await channel.subscribe(f"{prefix}{wire.CONTROL_CHANNEL}")
            async for told in channel.listen():
                command, _, name = str(told["data"]).partition(" ")
                if command == "cancel":
                    self.stop_query(name)
