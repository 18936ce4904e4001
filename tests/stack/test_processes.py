from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from stack.actors import actor

from agentic_flywheel.errors import ServiceFailed
from agentic_flywheel.stack import StackInfo, running_stack
from producer.stack.claim import claim
from producer.stack.processes import Service, Stack, Stage, restart_delay


@asynccontextmanager
async def stack_in(home: Path, lines: list[str] | None = None) -> AsyncIterator[Stack]:
    with claim(home) as claimed:
        stack = Stack(claimed, (lines if lines is not None else []).append)
        try:
            yield stack
        finally:
            await stack.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def yes() -> bool:
    return True


async def no() -> bool:
    return False


def test_each_death_in_a_row_waits_twice_as_long_up_to_half_a_minute() -> None:
    assert [restart_delay(deaths).total_seconds() for deaths in (1, 2, 3, 4, 5, 6, 60)] == [1, 2, 4, 8, 16, 30, 30]


async def test_a_killed_worker_is_started_again_and_the_state_file_knows_it(tmp_path: Path) -> None:
    lines: list[str] = []
    async with stack_in(tmp_path, lines) as stack:
        await stack.start([actor("worker-1", Stage.WORKER, tmp_path / "diary")])
        stack.publish(StackInfo(redis_url="redis://127.0.0.1:1/0"))
        first = stack.info.pids["worker-1"]

        os.kill(first, signal.SIGKILL)
        await until(lambda: stack.info.pids["worker-1"] != first)

        assert not gone(stack.info.pids["worker-1"])
        assert running_stack(tmp_path) == stack.info
        assert lines[0].startswith("worker-1 ended with status -9 and starts again in 1 s")


async def test_workers_end_before_what_they_work_with(tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    async with stack_in(tmp_path) as stack:
        await stack.start([actor("companion", Stage.COMPANION, diary), actor("worker-1", Stage.WORKER, diary)])
        pids = stack.pids

    endings = [line.split()[0] for line in diary.read_text().splitlines() if line.endswith("ended")]
    assert endings == ["worker-1", "companion"]
    assert all(gone(pid) for pid in pids.values())


async def test_workers_drain_at_the_same_time(tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    names = [f"worker-{n}" for n in range(3)]
    async with stack_in(tmp_path) as stack:
        await stack.start([actor(name, Stage.WORKER, diary) for name in names])

    said = diary.read_text().splitlines()
    first_end = min(said.index(f"{name} ended") for name in names)
    assert all(said.index(f"{name} asked, broker gone") < first_end for name in names)


async def test_a_process_that_does_not_end_is_killed_when_its_grace_is_over(tmp_path: Path) -> None:
    lines: list[str] = []
    async with stack_in(tmp_path, lines) as stack:
        await stack.start([actor("worker-1", Stage.WORKER, tmp_path / "diary", stubborn=True, grace=0.3)])
        pids = stack.pids

    assert lines == ["worker-1 is killed: its grace is over"]
    assert all(gone(pid) for pid in pids.values())


async def test_hurry_does_not_wait_for_the_grace(tmp_path: Path) -> None:
    lines: list[str] = []
    async with stack_in(tmp_path, lines) as stack:
        await stack.start([actor("worker-1", Stage.WORKER, tmp_path / "diary", stubborn=True, grace=60)])
        stack.hurry.set()

    assert lines == ["worker-1 is killed: hurry"]


async def test_a_service_that_ends_at_once_is_an_error_that_names_its_log(tmp_path: Path) -> None:
    async with stack_in(tmp_path) as stack:
        with pytest.raises(ServiceFailed, match="status 3") as failed:
            await stack.start([Service("worker-1", ("sh", "-c", "echo why; exit 3"), Stage.WORKER, no)])

    assert Path(failed.value.log).read_text() == "why\n"


async def test_a_service_that_never_gets_ready_is_an_error(tmp_path: Path) -> None:
    slow = Service("flower", ("sleep", "60"), Stage.COMPANION, no, start_within=timedelta(seconds=0.2))
    async with stack_in(tmp_path) as stack:
        with pytest.raises(ServiceFailed, match=r"not ready within 0\.2 s"):
            await stack.start([slow])


async def test_secrets_reach_a_service_but_not_its_command_line(tmp_path: Path) -> None:
    script = 'echo "$SECRET_OF_OURS"; exec sleep 60'
    service = Service("flower", ("sh", "-c", script), Stage.COMPANION, yes, env={"SECRET_OF_OURS": "hidden"})
    async with stack_in(tmp_path) as stack:
        await stack.start([service])
        (pid,) = stack.pids.values()
        await until(lambda: "hidden" in (tmp_path / "logs" / "flower.log").read_text())

        assert b"hidden" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert "hidden" not in repr(service)


async def test_the_log_of_the_run_before_is_kept(tmp_path: Path) -> None:
    for text in ("first", "second"):
        async with stack_in(tmp_path) as stack:
            await stack.start([Service("flower", ("sh", "-c", f"echo {text}; exec sleep 60"), Stage.COMPANION, yes)])
            await until(lambda text=text: text in (tmp_path / "logs" / "flower.log").read_text())  # type: ignore[misc]

    assert (tmp_path / "logs" / "flower.log.before").read_text() == "first\n"
    assert (tmp_path / "logs" / "flower.log").read_text() == "second\n"
