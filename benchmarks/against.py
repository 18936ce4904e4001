"""Compare this checkout with an earlier commit: the same load on both, in turns, on stacks that stand side by side.

``python -m benchmarks.pipeline --against COMMIT [--only 1] [--quick]``. The commit's files are laid into a temporary
folder, with today's ``benchmarks`` in place of theirs, so that both sides are measured by the same code. Each side is a
process of its own with its own broker, flow server and workers. Runs of a second or two take turns (old, new, new, old,
...), so that other load on the machine meets both; and both are started afresh several times, because one start of a
process can be a few percent faster than another. The packages are those that are installed, for both sides.

``ratio`` is the median of new / old over the pairs of neighbouring runs, with its quartiles: of queries per second, or
of the added milliseconds (p50) where questions come at a fixed rate. ``cpu_ratio`` is the same for the CPU time per
query of producer and workers. Of milliseconds less is better; the CPU's depend less on other load.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks.lab.asking import Row
from benchmarks.lab.loops import LOADS, LoadRun
from benchmarks.lab.measure import median, quantile
from benchmarks.lab.parts import ROOT, held, lab, undisturbed

#: How often both sides are started, and the pairs of runs after each start: in full, and with ``--quick``.
_FULL, _QUICK = (3, 8), (2, 4)


class Side:
    """One of the two: a process with a stack of its own that runs the load once for every line it is given."""

    def __init__(self, tree: Path, load: str, count: int) -> None:
        command = [sys.executable, "-m", "benchmarks.lab.side", load, str(count)]
        self._tree = tree
        # In a session of its own, so that Ctrl-C reaches only us. Should we be killed, its input ends, and it leaves.
        self._process = subprocess.Popen(
            command, cwd=tree, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    def run(self) -> LoadRun:
        """Run the load once. Raises SystemExit where the side has ended."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write("run\n")
            self._process.stdin.flush()
        return LoadRun(**json.loads(self._said()))

    def wait_ready(self) -> None:
        """Return once the side's stack is up and warm. Raises SystemExit where the side has ended."""
        self._said()

    def close(self) -> None:
        """End the side with all that it started."""
        self._process.terminate()
        self._process.wait()

    def _said(self) -> str:
        assert self._process.stdout is not None
        if line := self._process.stdout.readline():
            return line
        sys.exit(f"The side in {self._tree} has ended; the lines above say why.")


def compare(commit: str, wanted: set[int], *, quick: bool) -> Generator[Row]:
    """Yield a row for each load of the wanted groups, of all where none is named; ``quick`` leaves out two workers.

    Raises SystemExit where there is no such commit, or today's benchmarks cannot measure it.
    """
    rounds, pairs = _QUICK if quick else _FULL
    with lab() as here:
        old = files_of(commit, here.folder / "old")
        for name, load in LOADS.items():
            if (wanted and load.group not in wanted) or (quick and not load.quick):
                continue
            count = load.count // 2 if quick else load.count
            measured: list[tuple[LoadRun, LoadRun]] = []
            for _ in range(rounds):
                measured += measure_pairs(old, name, count, pairs)
            yield row_of(name, measured)


def measure_pairs(old: Path, load: str, count: int, pairs: int) -> Iterator[tuple[LoadRun, LoadRun]]:
    """Start both sides and yield pairs of runs, the old side's first in each pair."""
    with ExitStack() as standing:
        sides = []
        for tree in (old, ROOT):
            with held():
                sides.append(side := Side(tree, load, count))
                standing.callback(undisturbed(side.close))
        for side in sides:
            side.wait_ready()
        before, after = sides
        for number in range(pairs):
            if number % 2:
                second, first = after.run(), before.run()
            else:
                first, second = before.run(), after.run()
            yield first, second


def row_of(name: str, pairs: list[tuple[LoadRun, LoadRun]]) -> Row:
    """Return the figures of one load."""
    added = [(old.added_p50_ms, new.added_p50_ms) for old, new in pairs if old.added_p50_ms and new.added_p50_ms]
    unit = "p50_ms" if added else "per_s"
    both = added or [(old.queries_per_s, new.queries_per_s) for old, new in pairs]
    ratios = [new / old for old, new in both]
    return {
        "name": name,
        f"old_{unit}": round(median([old for old, _ in both]), 1),
        f"new_{unit}": round(median([new for _, new in both]), 1),
        "ratio": round(median(ratios), 3),
        "quartiles": f"{quantile(ratios, 0.25):.3f} … {quantile(ratios, 0.75):.3f}",
        "old_cpu_ms": round(median([cpu_ms(old) for old, _ in pairs]), 3),
        "new_cpu_ms": round(median([cpu_ms(new) for _, new in pairs]), 3),
        "cpu_ratio": round(median([cpu_ms(new) / cpu_ms(old) for old, new in pairs]), 3),
        "pairs": len(pairs),
    }


def cpu_ms(run: LoadRun) -> float:
    """Return the CPU milliseconds per query, producer and workers together."""
    return run.worker_cpu_ms + run.producer_cpu_ms


def files_of(commit: str, tree: Path) -> Path:
    """Lay the commit's files and today's ``benchmarks`` into a folder and return it.

    Raises SystemExit where there is no such commit.
    """
    # An archive, not a work tree of git's: a run that is killed leaves nothing behind in the repository.
    archive = tree.with_suffix(".tar")
    # What begins with a hyphen is no commit, but git would read an option.
    written = subprocess.run(
        ["git", "archive", "--output", str(archive), "--end-of-options", commit],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if written.returncode:
        sys.exit(f"The files of {commit} cannot be had: {written.stderr.strip()}")
    shutil.unpack_archive(archive, tree, filter="data")
    shutil.rmtree(tree / "benchmarks", ignore_errors=True)
    shutil.copytree(ROOT / "benchmarks", tree / "benchmarks", ignore=shutil.ignore_patterns("__pycache__"))
    return tree
