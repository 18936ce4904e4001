"""A poller for Celery's hub that runs the loop of the tasks while the hub has nothing to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from workers.engine.loops import LoopThread


class LoopPoller:
    """The hub's own poller, asked only when the loop has seen that it has an answer."""

    def __init__(self, poller: Any, hub: Any, tasks: LoopThread) -> None:
        self._poller, self._hub, self._tasks = poller, hub, tasks
        self.register, self.unregister = poller.register, poller.unregister
        self._fd: int = poller._epoll.fileno()
        tasks.loop.add_reader(self._fd, tasks.loop.stop)

    def poll(self, timeout: float) -> Any:
        """Run the loop until there are events for the hub, or for so many seconds; return the events."""
        self._tasks.run_for(0 if self._hub._ready else timeout)
        return self._poller.poll(0)

    def detach(self) -> Any:
        """Leave the loop alone; return the hub's own poller."""
        self._tasks.loop.remove_reader(self._fd)
        return self._poller

    def close(self) -> None:
        self.detach().close()


def can_run_loop(hub: Any) -> bool:
    """Return whether a hub's poller is one that a loop can watch: epoll, on Linux."""
    return hasattr(hub.poller, "_epoll")


@contextmanager
def running_loop(hub: Any, tasks: LoopThread) -> Iterator[None]:
    """Let the hub run the loop of the tasks in its own thread meanwhile."""
    with tasks.borrowed():
        hub.poller = poller = LoopPoller(hub.poller, hub, tasks)
        try:
            yield
        finally:
            if hub.poller is poller:  # not after an error: the hub has closed it then, and made another
                hub.poller = poller.detach()
