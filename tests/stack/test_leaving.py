"""Nothing stays behind, however the one that started the stack ends."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from processes import Process, free_port, wait_for

from agentic_flywheel.settings import Settings
from agentic_flywheel.stack import running_stack
from producer.stack import start_stack
from producer.stack.broker import answers
from producer.stack.claim import claim
from producer.stack.guard import left_over


class Starter:
    """A process of its own that runs a stack: a broker, a companion and two workers."""

    def __init__(self, folder: Path, *prefix: str) -> None:
        self.home = folder / "home"
        command = [*prefix, sys.executable, "-m", "stack.actors", str(self.home), str(free_port())]
        self.process = Process(command, log=folder / "starter.log")
        wait_for(lambda: '"worker-2"' in self.process.log, within=60, what="the stack stands")
        line = next(line for line in self.process.log.splitlines() if line.startswith("{"))
        self.pids: dict[str, int] = json.loads(line)

    def alive(self) -> list[str]:
        return [name for name, pid in self.pids.items() if _alive(pid)]

    def drained_in_order(self) -> bool:
        """Whether the workers ended before the companion, and all while the broker was there and others found it."""
        diary = (self.home / "diary").read_text().splitlines()
        endings = [line.split()[0] for line in diary if line.endswith("ended")]
        return (
            sorted(endings[:2]) == ["worker-1", "worker-2"]
            and endings[2:] == ["companion"]
            and "gone" not in str(diary)
            and "not found" not in str(diary)
        )


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A machine whose first process does not collect orphans keeps them as zombies.
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()


@pytest.fixture
def starter(tmp_path: Path) -> Starter:
    return Starter(tmp_path)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains_workers_before_the_broker_goes(tmp_path: Path, signum: signal.Signals) -> None:
    starter = Starter(tmp_path)
    starter.process.send(signum)

    assert starter.process.wait() == 0
    assert starter.process.log.endswith("left with an interruption\n")
    assert starter.alive() == []
    assert starter.drained_in_order()
    assert running_stack(starter.home) is None


def test_a_closed_terminal_ends_the_stack_unless_nohup_says_otherwise(tmp_path: Path) -> None:
    starter = Starter(tmp_path, "nohup")
    starter.process.send(signal.SIGHUP)
    starter.process.send(signal.SIGINT)

    # Were the first heard, the second would have hurried, and nobody drained.
    assert starter.process.wait() == 0
    assert starter.drained_in_order()


async def test_an_interruption_before_the_stack_stands_clears_it_away_too(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    lines: list[str] = []

    def interrupt_when_the_broker_is_there(line: str) -> None:
        lines.append(line)
        if line.startswith("Broker"):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        async with start_stack(settings, on_line=interrupt_when_the_broker_is_there):
            pytest.fail("it stands")
    assert lines[-1].startswith("Stopping")
    assert not await answers(settings.redis_url)
    with claim(tmp_path):
        pass


def test_a_starter_that_is_killed_leaves_no_process_behind(starter: Starter) -> None:
    starter.process.kill()

    wait_for(lambda: not starter.alive(), what="every process is gone")
    assert starter.drained_in_order()


def test_the_home_of_a_killed_starter_is_free_once_everything_is_cleared_away(starter: Starter) -> None:
    starter.process.kill()

    assert running_stack(starter.home) is None or starter.alive()
    wait_for(lambda: not starter.alive(), what="every process is gone")
    with claim(starter.home):
        assert running_stack(starter.home) is None


def test_the_guard_knows_what_is_left_and_in_which_order_it_goes() -> None:
    lines = ["+ 0 10 5.0", "+ 1 11 2.5", "+ 2 12 9.0", "+ 2 13 9.0", "- 2 12", "- 1 11", "+ 1 14 2.5"]

    assert left_over(lines) == [{13: 9.0}, {14: 2.5}, {10: 5.0}]
    assert left_over([]) == []
