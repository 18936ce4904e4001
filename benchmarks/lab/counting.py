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
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

from benchmarks.lab.parts import wait_until

#: Seconds after the last answer in which its acknowledgements are written.
_SETTLED = 0.1


class Calls(NamedTuple):
    """Calls of functions that are written in Python, and in C, by their names."""

    python: dict[str, int]
    c: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.python.values()) + sum(self.c.values())

    def most(self, count: int) -> str:
        """Return the names of what is called most, each with its number."""
        both = sorted([*self.python.items(), *self.c.items()], key=lambda each: -each[1])
        return ", ".join(f"{name} {number}" for name, number in both[:count])


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
        self._python: Counter[CodeType] = Counter()
        self._c: Counter[str] = Counter()
        self._counts = False

    def turn(self, *_: object) -> None:
        """Begin, or end. On the hub's thread, where signals come."""
        from workers.engine.loops import shared_loop

        self._counts = not self._counts
        if self._counts:
            self._python.clear()
            self._c.clear()
        counting = self._count if self._counts else None
        sys.setprofile(counting)
        shared_loop.get().loop.call_soon_threadsafe(self._turn_tasks, counting)

    def _turn_tasks(self, counting: Any) -> None:
        sys.setprofile(counting)
        if counting is None:
            written = self._told.with_suffix(".part")
            python = Counter[str]()
            for code, number in self._python.items():
                python[f"{Path(code.co_filename).stem}.{code.co_qualname}"] += number
            written.write_text(json.dumps([python, self._c]))
            written.replace(self._told)

    def _count(self, frame: FrameType, event: str, called: Any) -> None:
        if event == "call":
            self._python[frame.f_code] += 1
        elif event == "c_call":
            self._c[called.__qualname__] += 1


def main() -> int:
    """Run a worker."""
    signal.signal(signal.SIGURG, _Counter(Path(sys.argv.pop(1))).turn)
    from workers.__main__ import main as worker

    return worker()


if __name__ == "__main__":
    sys.exit(main())
