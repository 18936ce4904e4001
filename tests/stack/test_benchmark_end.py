"""The benchmark ends by a signal with all that it has started."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
import weakref
from collections.abc import Generator
from pathlib import Path
from typing import Any

import psutil
import pytest
from processes import REPOSITORY, Process, wait_for

from benchmarks.lab import parts
from benchmarks.lab.asking import Row
from benchmarks.lab.parts import interruptible
from benchmarks.pipeline import report


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_the_benchmark_leaves_no_process_when_it_is_told_to_end(signum: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.pipeline", "--json", "--quick", "--repeats", "1", "--only", "2"]
    env = {"PYTHONPATH": str(REPOSITORY), "TMPDIR": str(tmp_path)}
    benchmark = Process(command, log=tmp_path / "benchmark.log", env=env)
    own = psutil.Process(benchmark.pid)

    def celerys() -> list[psutil.Process]:
        found, commands = own.children(recursive=True), list[str]()
        for each in found:
            with contextlib.suppress(psutil.Error):  # it has ended meanwhile
                commands += each.cmdline()
        return found if "benchmarks.lab.naive" in commands else []

    # Its second row, plain Celery in several processes, is the one with most to end.
    children = wait_for(celerys, within=120, what="the row of plain Celery")
    benchmark.send(signum)
    status = benchmark.wait(within=60)

    assert status == 130
    assert psutil.wait_procs(children, timeout=10)[1] == []
    assert list(tmp_path.glob("flywheel-bench-*")) == []


class Lost:
    """Has a weak reference whose callback meets a signal."""


def test_an_interrupt_that_python_has_ignored_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_AGAIN", 0.2)
    ignored = list[object]()
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)
    held = [Lost()]
    reference = weakref.ref(held[0], lambda _: signal.raise_signal(signal.SIGTERM))

    def work() -> None:
        with interruptible():
            held.clear()
            assert reference() is None
            time.sleep(30)

    with pytest.raises(KeyboardInterrupt):
        work()

    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert ignored == []
    assert sys.unraisablehook == ignored.append


def test_a_second_signal_does_not_cut_short_what_the_first_began() -> None:
    done = list[str]()

    def work() -> None:
        with interruptible():
            try:
                signal.raise_signal(signal.SIGINT)
            finally:
                signal.raise_signal(signal.SIGTERM)
                done.append("cleared")

    with pytest.raises(KeyboardInterrupt):
        work()

    assert done == ["cleared"]


def test_a_part_that_was_starting_when_the_signal_came_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    started = list[parts.LabProcess]()

    class Starting(parts.LabProcess):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            started.append(self)
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(parts, "LabProcess", Starting)

    def work() -> None:
        with parts.lab() as here:
            here.part("sleep", ["sleep", "60"])

    with pytest.raises(KeyboardInterrupt):
        work()

    assert [each.alive for each in started] == [False]


def test_rows_that_were_measured_before_an_interrupt_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    def rows() -> Generator[Row]:
        yield {"name": "limit", "queries_per_s": 4711}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        report("some rows", rows(), as_json=False)

    assert "4711" in capsys.readouterr().out
