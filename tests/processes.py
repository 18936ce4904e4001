"""Real processes for tests: a Valkey server on a free port, a Celery worker in its own session, and a way to wait."""

from __future__ import annotations

import atexit
import contextlib
import io
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path
from typing import TypeVar

import redis

T = TypeVar("T")
#: Everything that this run has started, so that what it leaves behind can be looked at (see ``closing``).
started: list[Running] = []
brokers: list[Valkey] = []
#: Homes of stacks that were started as a user starts them: ``flywheel up``, ``flywheel demo``.
homes: list[Path] = []
REPOSITORY = Path(__file__).resolve().parent.parent
#: Seconds that every worker here has to stop: in the second half it hands back. The product's own default is minutes.
GRACE = "20"
#: What every child process finds on its path: the packages, and the apps that live beside the tests.
IMPORT_PATH = (REPOSITORY, REPOSITORY / "tests")
#: By which coverage tells a new process to measure itself.
COVERS_PROCESSES = "COVERAGE_PROCESS_CONFIG"
#: Modules of ``python -m`` that are forked ...
FORKED = frozenset({"workers", "flowise_sandbox", "benchmarks.lab.counting"})
#: ... but where these are measured: there they are commands, as a user starts them.
measured: frozenset[str] = frozenset()
#: Imported once, by the process that workers and sandboxes are forked from. Of the 1.8 s of processor time in which a
#: worker starts, imports take 1.4. None of them looks at the environment when it is imported, as `workers.app` does.
PRELOADED = (
    *("celery.bin.celery", "celery.apps.worker", "celery.worker.consumer", "workers.engine", "pytest"),
    *(f"workers.{each.stem}" for each in sorted((REPOSITORY / "workers").glob("[!_]*.py")) if each.stem != "app"),
    "workers.__main__",
    *("celery.app.log", "celery.backends.redis", "celery.worker.components", "billiard.pool"),
    *("agentic_flywheel.figures.metrics", "flowise_sandbox.__main__", "flowise_sandbox.server", "numpy.ma", "uvloop"),
)


def wait_for(condition: Callable[[], T | None], *, within: float = 30.0, every: float = 0.02, what: str = "") -> T:
    """Return the first true value of ``condition``; fail the test after ``within`` seconds."""
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s: {what or condition}")
        time.sleep(every)


def end_waits(client: redis.Redis) -> None:
    """End what workers that stand still wait for: the server would take messages for them when these come."""
    waits: list[dict[str, str]] = client.client_list()
    for each in waits:
        if each["cmd"] == "blmove":
            client.client_unblock(int(each["id"]))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Running:
    """A process in its own session, so that a signal to its group reaches its children and nobody else."""

    pid: int

    def __init__(self, log_file: Path) -> None:
        self.log_file = log_file
        #: What it was told in its environment.
        self.env: dict[str, str] = {}
        started.append(self)

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    @property
    def alive(self) -> bool:
        return self._status(0) is None

    def send(self, signum: signal.Signals) -> None:
        os.kill(self.pid, signum)

    def wait(self, *, within: float = 30.0) -> int:
        """Return the exit status; fail the test if the process outlives ``within`` seconds."""
        status = self._status(within)
        assert status is not None, f"still running after {within} s:\n{self.log[-2000:]}"
        return status

    def terminate(self, *, within: float = 30.0) -> int:
        """SIGTERM, then wait for the end."""
        self.send(signal.SIGTERM)
        return self.wait(within=within)

    def kill(self) -> None:
        """SIGKILL to the whole group. Harmless when it is gone already."""
        if self.alive:
            os.killpg(self.pid, signal.SIGKILL)
            self.wait()

    def _status(self, within: float) -> int | None:
        raise NotImplementedError


class Process(Running):
    """A command. Workers and sandboxes are forked from a process that has imported them, unless they are measured."""

    def __init__(self, command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> None:
        super().__init__(log)
        self.command, self.env = list(command), dict(env or {})
        search = os.pathsep.join(str(folder) for folder in IMPORT_PATH)
        environment = {**os.environ, "PYTHONPATH": search, "FLYWHEEL_GRACE": GRACE, **self.env}
        self._status_within: Callable[[float], int | None]
        module, arguments = _module_of(self.command)
        if module in FORKED - measured and environment["PYTHONPATH"] == search:
            self._fork = Fork(_run_module, log, environment, module, arguments)
            self.pid, self._status_within = self._fork.pid, self._fork.status
            return
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        self.pid, self._status_within = self._process.pid, self._status_of_command

    def _status(self, within: float) -> int | None:
        return self._status_within(within)

    def _status_of_command(self, within: float) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(within)
        return None


def _module_of(command: Sequence[str]) -> tuple[str, list[str]]:
    """Return the module that ``python -m`` is to run, with its arguments; '' for any other command."""
    python, *options = command
    start = options.index("-m") if python == sys.executable and "-m" in options[:2] else len(options)
    given = options[start + 1 :] if options[:start] in ([], ["-u"]) else []
    return (given[0], given[1:]) if given else ("", [])


class Fork:
    """A function in a session of its own, forked from a process that has imported what is PRELOADED."""

    #: Several threads start and wait for processes; the exit status of each can be read once.
    _one_at_a_time = threading.Lock()

    def __init__(self, run: Callable[..., None], log: Path, *given: object) -> None:
        log.touch()
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(PRELOADED))
        # As a daemon it is not waited for when the tests end.
        self._process = context.Process(target=run, args=(str(log), *given), daemon=True)
        with self._one_at_a_time:
            covers = os.environ.pop(COVERS_PROCESSES, None)
            forkserver.ensure_running()
            if covers:
                os.environ[COVERS_PROCESSES] = covers
            self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        wait_for(lambda: self._leads_its_session() or self.status(0) is not None, every=0.001, what="its own session")

    def status(self, within: float) -> int | None:
        deadline = time.monotonic() + within
        while True:
            with self._one_at_a_time:
                status = self._process.exitcode
            if status is not None or time.monotonic() >= deadline:
                return status
            time.sleep(0.01)

    def _leads_its_session(self) -> bool:
        with contextlib.suppress(ProcessLookupError):
            return os.getsid(self.pid) == self.pid
        return False


def _begin(log: str, env: Mapping[str, str]) -> None:
    """Make a fork what a started command would be."""
    os.setsid()
    # As logs name it.
    multiprocessing.current_process().name = "MainProcess"
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.clear()
    os.environ.update(env)
    os.environ.pop(COVERS_PROCESSES, None)
    sys.path[:0] = [str(folder) for folder in IMPORT_PATH]
    for stream in (sys.stdout, sys.stderr):
        assert isinstance(stream, io.TextIOWrapper)
        stream.reconfigure(line_buffering=True)


def _run_module(log: str, env: dict[str, str], module: str, arguments: list[str]) -> None:
    _begin(log, env)
    sys.argv = [module, *arguments]
    # It was imported under this name, and is now run under another.
    sys.modules.pop(f"{module}.__main__", None)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        # A fork ends without them.
        atexit._run_exitfuncs()


class Worker(Running):
    """``celery`` with some arguments, forked as the workers of the product are."""

    def __init__(self, arguments: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> None:
        super().__init__(log)
        self._fork = Fork(_run_celery, log, {**os.environ, **(env or {})}, list(arguments))
        self.pid = self._fork.pid

    def _status(self, within: float) -> int | None:
        return self._fork.status(within)


def _run_celery(log: str, env: dict[str, str], arguments: list[str]) -> None:
    _begin(log, env)
    sys.argv = ["celery", *arguments]
    from celery.bin.celery import main

    main()


class Valkey:
    """One Valkey server. ``kill`` and ``start`` again to see a crash; with ``aof`` its data survive it."""

    def __init__(self, folder: Path, *, aof: bool = False, options: Sequence[str] = (), port: int = 0) -> None:
        self.folder, self.port = folder, port or free_port()
        self._aof, self._options = aof, options
        self._process: Process | None = None
        brokers.append(self)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def process(self) -> Process:
        assert self._process is not None, "not started"
        return self._process

    def client(self) -> redis.Redis:
        return redis.Redis(host="127.0.0.1", port=self.port, decode_responses=True)

    def start(self) -> Valkey:
        self.folder.mkdir(parents=True, exist_ok=True)
        from producer.stack.broker import server_binary  # only here: workers are forked from who imports this module

        command = [server_binary(), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        command += ["--save", "", "--loglevel", "warning", "--appendonly", "yes" if self._aof else "no"]
        self._process = Process([*command, *self._options], log=self.folder / "server.log")
        # It loads its file before it answers; on a loaded machine that takes a while.
        wait_for(self._answers, within=60, what="Valkey answers")
        return self

    def _answers(self) -> bool:
        with contextlib.suppress(redis.RedisError), self.client() as client:
            return bool(client.ping())
        return False

    def kill(self) -> None:
        self.process.kill()

    def stop(self) -> None:
        if self.process.alive:
            self.process.terminate()


def start_worker(
    app: str,
    *,
    log: Path,
    name: str = "worker",
    queues: str = "celery",
    concurrency: int = 100,
    env: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
) -> Worker:
    """Start ``celery -A app worker`` and return once it says that it is ready."""
    arguments = ["-A", app, "worker", "-n", f"{name}@test", "-Q", queues, "-c", str(concurrency), "-l", "INFO"]
    worker = Worker([*arguments, "--without-gossip", "--without-mingle", *options], log=log, env=env)
    ready = f"{name}@test ready"
    try:
        wait_for(lambda: not worker.alive or (log.exists() and ready in worker.log), within=20, what=ready)
        assert worker.alive, f"the worker did not start:\n{worker.log[-2000:]}"
    except BaseException:
        worker.kill()
        raise
    return worker
