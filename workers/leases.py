"""The executions of this worker: their leases are renewed, and they are stopped when they are no longer wanted."""

from __future__ import annotations

import asyncio
import logging
from types import TracebackType

from agentic_flywheel.errors import BrokerUnavailable
from agentic_flywheel.transitions import LEASE_MS, Execution, Transitions

logger = logging.getLogger(__name__)


class Held:
    """A lease that is renewed while the body of ``with`` runs."""

    def __init__(self, running: dict[str, tuple[Execution, asyncio.Task[object]]], execution: Execution) -> None:
        self._running, self._execution, self._name = running, execution, execution.name

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running[self._name] = (self._execution, task)

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        found = self._running.get(self._name)
        if found is not None and found[0] is self._execution:
            del self._running[self._name]


class Leases:
    """Holds what runs. ``keep`` renews until it is cancelled."""

    def __init__(self, transitions: Transitions) -> None:
        self._transitions = transitions
        self._running: dict[str, tuple[Execution, asyncio.Task[object]]] = {}
        self._stopped: set[str] = set()

    def __len__(self) -> int:
        return len(self._running)

    def held(self, execution: Execution) -> Held:
        """Renew an execution's lease while the body runs."""
        return Held(self._running, execution)

    def stop(self, name: str) -> None:
        """Cut an execution because its query was cancelled, has expired, or is another worker's now."""
        found = self._running.get(name)
        if found is not None:
            self._stopped.add(name)
            found[1].cancel()

    def stop_query(self, query_id: str) -> None:
        """Cut every execution of a query."""
        for name in [name for name in self._running if name == query_id or name.startswith(f"{query_id}|")]:
            self.stop(name)

    def was_stopped(self, execution: Execution) -> bool:
        """Return, once, whether a cancellation was ours rather than the worker's shutdown."""
        stopped = execution.name in self._stopped
        self._stopped.discard(execution.name)
        return stopped

    async def keep(self) -> None:
        """Renew all leases at a third of their time."""
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
