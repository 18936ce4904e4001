"""Hand calls over between a worker's two threads: the hub's, which talks to the broker, and that of the task loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)

Calls = deque[Callable[[], object]]

#: Seconds within which the hub is told what nobody waits for.
GATHERED = 0.02


class Handover:
    """Two queues of calls, one for each thread. A thread is woken once for all calls that wait for it."""

    def __init__(
        self, hub: Any, loop: asyncio.AbstractEventLoop, *, after_gathered: Callable[[], object] = lambda: None
    ) -> None:
        """``after_gathered`` is called on the hub's thread after calls that were gathered for it."""
        self.loop = loop
        self._hub, self._after_gathered = hub, after_gathered
        self._gathered: Calls = deque()
        self._for_loop: Calls = deque()
        self._for_hub: Calls = deque()
        self._loop_is_woken = self._hub_is_woken = False
        self._something_for_hub = threading.Event()

    def to_loop(self, call: Callable[[], object]) -> None:
        """Have something called on the loop's thread. Calls run in order; what one raises is logged."""
        self._for_loop.append(call)
        if not self._loop_is_woken:
            self._loop_is_woken = True
            self.loop.call_soon_threadsafe(self._run_on_loop)

    def to_hub(self, call: Callable[[], object]) -> None:
        """Have something called on the hub's thread. Calls run in order; what one raises is logged."""
        self._for_hub.append(call)
        if not self._hub_is_woken:
            self._hub_is_woken = True
            self._something_for_hub.set()
            self._hub.call_soon(self.run_on_hub)

    def to_hub_in_company(self, call: Callable[[], object]) -> None:
        """Have something called on the hub's thread within ``GATHERED`` seconds: one wake-up for all such calls.

        Only the loop's thread may call this.
        """
        self._gathered.append(call)
        if len(self._gathered) == 1:
            self.loop.call_later(GATHERED, self.to_hub, self._run_gathered)

    def run_on_hub(self) -> None:
        """Run the calls that wait for the hub's thread. Only that thread may call this."""
        self._hub_is_woken = False
        _run(self._for_hub)

    def run_all_on_hub(self) -> None:
        """Run these calls and the gathered ones. Only the hub's thread may call this."""
        self.run_on_hub()
        self._run_gathered()

    def wait(self, seconds: float) -> None:
        """Wait until a call comes for the hub's thread, at most so long."""
        self._something_for_hub.wait(seconds)
        self._something_for_hub.clear()

    def _run_gathered(self) -> None:
        _run(self._gathered)
        self._after_gathered()

    def _run_on_loop(self) -> None:
        self._loop_is_woken = False
        _run(self._for_loop)


def _run(calls: Calls) -> None:
    while calls:
        call = calls.popleft()
        try:
            call()
        except Exception:  # those behind it must run
            logger.exception("a call that was handed over to another thread failed: %r", call)
