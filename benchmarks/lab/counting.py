"""Count the calls that a worker makes in Python: a figure that does not depend on what else the machine does.

``python -m benchmarks.lab.counting FILE …`` starts a worker with the options behind FILE. At SIGURG it begins to
count, at the next one it writes what it has counted into FILE. Until then, counting costs nothing. Counted are the
threads that carry a query: the hub's and the tasks' loop. Of C, those functions count that Python code calls.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.lab.parts import wait_until

#: Seconds after the last answer in which its acknowledgements are written.
_SETTLED = 0.1


class Calls(NamedTuple):
    """Calls of functions that are written in Python, and in C."""

    python: int
    c: int


async def calls_during(pid: int, told: Path, work: Callable[[], Awaitable[object]]) -> Calls:
    """Return the calls of a counting worker while ``work`` is awaited. ``told``: the file that it was started with."""
    os.kill(pid, signal.SIGURG)
    await work()
    await asyncio.sleep(_SETTLED)
    os.kill(pid, signal.SIGURG)
    return _written(told)


def _written(told: Path) -> Calls:
    wait_until(told.exists, what="the worker's calls")
    calls = Calls(*json.loads(told.read_text()))
    told.unlink()
    return calls


class _Counter:
    """Counts in the threads of a worker, from one signal to the next."""

    def __init__(self, told: Path) -> None:
        self._told = told
        self._counted: dict[str, int] = {}
        self._counts = False

    def turn(self, *_: object) -> None:
        """Begin, or end. On the hub's thread, where signals come."""
        from workers.engine.loops import shared_loop

        self._counts = not self._counts
        if self._counts:
            self._counted = {"call": 0, "c_call": 0}
        counting = self._count if self._counts else None
        sys.setprofile(counting)
        shared_loop.get().loop.call_soon_threadsafe(self._turn_tasks, counting)

    def _turn_tasks(self, counting: Any) -> None:
        sys.setprofile(counting)
        if counting is None:
            written = self._told.with_suffix(".part")
            written.write_text(json.dumps([*self._counted.values()]))
            written.replace(self._told)

    def _count(self, _: object, event: str, __: object) -> None:
        if event in self._counted:
            self._counted[event] += 1


def main() -> int:
    """Run a worker."""
    signal.signal(signal.SIGURG, _Counter(Path(sys.argv.pop(1))).turn)
    from workers.__main__ import main as worker

    return worker()


if __name__ == "__main__":
    sys.exit(main())
