"""Measure how long a command takes to start: ``python -m benchmarks.start [--repeats 11]``.

Each row is started several times, in turns with the others, beside a broker of its own; ``wall_ms`` and ``cpu_ms`` are
medians. The ratio is to the time that the packages need by themselves on which the client is built.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from typing import NamedTuple

from benchmarks.lab.arguments import at_least
from benchmarks.lab.asking import Row, environment
from benchmarks.lab.measure import median
from benchmarks.lab.parts import Lab, interruptible, lab
from benchmarks.lab.table import console, table

_FLYWHEEL = "import sys; sys.argv = ['flywheel', *{given}]; from producer.cli import main; main()"
ROWS: dict[str, str] = {
    "redis, pydantic and typer alone": "import redis.asyncio, pydantic, typer",
    **{f"flywheel {words}": _FLYWHEEL.format(given=words.split()) for words in ("--version", "status")},
}


class Taken(NamedTuple):
    """Milliseconds that one start took on the clock, and of the processor."""

    wall: float
    cpu: float


def start(script: str) -> Taken:
    """Run a script of Python to its end. Raises CalledProcessError where it fails."""
    used, begun = _used(), time.perf_counter()
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)
    return Taken((time.perf_counter() - begun) * 1000, (_used() - used) * 1000)


def measure(here: Lab, repeats: int) -> list[Row]:
    """Return a row for each of ``ROWS``."""
    _, broker = here.broker()
    taken: dict[str, list[Taken]] = {name: [] for name in ROWS}
    with environment(here.environment(broker, "http://127.0.0.1:9")):
        for number in range(repeats + 1):
            for name, script in ROWS.items():
                found = start(script)
                if number:  # the first one compiles, and reads from the disk
                    taken[name].append(found)
    return rows_of(taken)


def rows_of(taken: dict[str, list[Taken]]) -> list[Row]:
    """Return the medians of what each took, and their ratios to those of the first."""
    base = median([each.cpu for each in next(iter(taken.values()))])
    return [
        {
            "name": name,
            "wall_ms": round(median([each.wall for each in found])),
            "cpu_ms": round(median([each.cpu for each in found])),
            "ratio": round(median([each.cpu for each in found]) / base, 2),
        }
        for name, found in taken.items()
    ]


def _used() -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


def main() -> None:
    asked = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__)
    asked.add_argument("--repeats", type=at_least(1), default=11)
    repeats = asked.parse_args().repeats
    try:
        with interruptible(), lab() as here:
            console().print(table("a command's start", measure(here, repeats)))
    except KeyboardInterrupt:
        sys.stdout.flush()
        os._exit(130)


if __name__ == "__main__":
    main()
