"""Run the processes of a stack: start them in order, restart those that die, stop them in reverse order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from pathlib import Path

from agentic_flywheel.errors import ServiceFailed
from agentic_flywheel.settings import child_environment
from agentic_flywheel.stack import StackInfo, state_file
from producer.stack import guard
from producer.stack.claim import Claim
from producer.stack.ports import Ports

#: A service that ran for this long has recovered: its next death counts as the first.
RECOVERED = timedelta(seconds=60)


class Stage(IntEnum):
    """The order in which services start. They stop in the reverse order: workers need the broker until their end."""

    BROKER = 0
    COMPANION = 1
    WORKER = 2


@dataclass(frozen=True)
class Service:
    """A process to run: its command, and how to see that it is ready."""

    name: str
    argv: tuple[str, ...]
    stage: Stage
    #: Called every 50 ms until it returns True.
    ready: Callable[[], Awaitable[bool]]
    #: Added to our own environment. Secrets are passed here, because other users can read a command line.
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    folder: Path | None = None
    start_within: timedelta = timedelta(seconds=60)
    #: Time from SIGTERM to SIGKILL.
    grace: timedelta = timedelta(seconds=5)


def restart_delay(deaths: int) -> timedelta:
    """Return how long to wait before a service that died ``deaths`` times in a row starts again: 1, 2, 4 … 30 s."""
    return timedelta(seconds=min(2.0 ** (deaths - 1), 30.0))


class Running:
    """One service: its process, and the process that replaces it when it dies."""

    def __init__(self, service: Service, stack: Stack) -> None:
        self.service = service
        self._stack = stack
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process is not None, "not started"
        return self._process

    @property
    def log(self) -> Path:
        return self._stack.logs / f"{self.service.name}.log"

    async def spawn(self) -> None:
        """Start the process, in a session of its own: so Ctrl-C reaches only us, and we stop everything in order."""
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self.service.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=child_environment(**{"FLYWHEEL_LOG_FILE": str(self.log.absolute()), **self.service.env}),
                cwd=self.service.folder,
                start_new_session=True,
            )
        finally:
            os.close(log)
        self._stack.tell_guard(f"+ {self.service.stage} {self.process.pid} {self.service.grace.total_seconds()}")

    async def until_ready(self) -> None:
        """Return when it is ready. Raises ServiceFailed if it ends first, or is not ready in time."""
        name, within = self.service.name, self.service.start_within.total_seconds()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while not await self.service.ready():
                    if self.process.returncode is not None:
                        raise ServiceFailed(name, f"it ended with status {self.process.returncode}", str(self.log))
                    await asyncio.sleep(0.05)
                return
        raise ServiceFailed(name, f"it was not ready within {within:g} s", str(self.log))

    def watch(self) -> None:
        """Restart the process whenever it dies, until ``stop``."""
        self._watch = asyncio.create_task(self._start_again_whenever_it_dies())

    async def _start_again_whenever_it_dies(self) -> None:
        clock = asyncio.get_running_loop().time
        deaths, born = 0, clock()
        while True:
            status = await self.process.wait()
            self._stack.tell_guard(f"- {self.service.stage} {self.process.pid}")
            deaths = 1 if clock() - born > RECOVERED.total_seconds() else deaths + 1
            delay = restart_delay(deaths).total_seconds()
            again = f"ended with status {status} and starts again in {delay:g} s"
            self._stack.say(f"{self.service.name} {again}; its log is {self.log}")
            await asyncio.sleep(delay)
            born = clock()
            await self.spawn()
            self._stack.publish()

    async def stop(self, hurry: asyncio.Event) -> None:
        """SIGTERM, then SIGKILL to the whole group when its grace is over, or at once when there is hurry."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        ended, hurried = asyncio.create_task(self.process.wait()), asyncio.create_task(hurry.wait())
        grace = self.service.grace.total_seconds()
        await asyncio.wait([ended, hurried], timeout=grace, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            self._stack.say(f"{self.service.name} is killed: " + ("hurry" if hurry.is_set() else "its grace is over"))
        hurried.cancel()
        # Kill its children too: they may outlive it.
        guard.signal_group(self.process.pid, signal.SIGKILL)
        await ended
        self._stack.tell_guard(f"- {self.service.stage} {self.process.pid}")


class Stack:
    """The services of one home, from start to stop."""

    def __init__(self, claim: Claim, on_line: Callable[[str], None]) -> None:
        self.say = on_line
        self.logs = claim.home / "logs"
        self.interrupted = False
        self.hurry = asyncio.Event()
        self.ports = Ports()
        self._claim = claim
        self._running: list[Running] = []
        self._info: StackInfo | None = None
        # Inherits the lock: nobody can start a second stack before the last process of this one is gone.
        self._guard = subprocess.Popen(
            [sys.executable, "-I", guard.__file__, str(state_file(claim.home))],
            stdin=subprocess.PIPE,
            text=True,
            pass_fds=[claim.lock],
            start_new_session=True,
        )

    @property
    def info(self) -> StackInfo:
        """The addresses of the stack and the ids of its processes, as they are now."""
        assert self._info is not None, "not started"
        return self._info.model_copy(update={"pids": self.pids})

    @property
    def pids(self) -> dict[str, int]:
        """The process id of each service by its name."""
        return {each.service.name: each.process.pid for each in self._running}

    def tell_guard(self, line: str) -> None:
        """Send the guard one line: a process that was started or has ended. See ``producer.stack.guard``."""
        assert self._guard.stdin is not None
        self._guard.stdin.write(line + "\n")
        self._guard.stdin.flush()

    def publish(self, info: StackInfo | None = None) -> None:
        """Write the state file, by which other commands find this stack."""
        self._info = info or self._info
        if self._info is not None:
            self._claim.publish(self.info)

    async def start(self, services: Sequence[Service]) -> None:
        """Start these services, return when all are ready, and restart them when they die. Raises ServiceFailed."""
        self.logs.mkdir(mode=0o700, exist_ok=True)
        started = [Running(service, self) for service in services]
        for each in started:
            with contextlib.suppress(FileNotFoundError):
                each.log.replace(each.log.with_suffix(".log.before"))
            self._running.append(each)
            await each.spawn()
        await asyncio.gather(*(each.until_ready() for each in started))
        for each in started:
            each.watch()

    async def wait(self) -> None:
        """Run until interrupted by Ctrl-C, SIGTERM or a closed terminal."""
        await asyncio.Event().wait()

    async def stop(self) -> None:
        """Stop every process, the workers first and the broker last. May be called at any time."""
        for stage in sorted(Stage, reverse=True):
            if stage is Stage.BROKER:  # until then, other commands show what is still answered
                self._claim.withdraw()
            await asyncio.gather(*(each.stop(self.hurry) for each in self._running if each.service.stage is stage))
        self._running.clear()
        self.ports.close()
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        self._guard.wait()
