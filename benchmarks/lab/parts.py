"""The processes that a benchmark runs against, started by it on free ports and gone after it."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil
import redis

from producer.stack.broker import server_binary

ROOT = Path(__file__).resolve().parents[2]
#: Seconds after which a KeyboardInterrupt that has had no effect is raised again.
_AGAIN = 5.0
#: Seconds within which a second signal says no more than the first: it must not cut short how that one is carried out.
_ONCE = 1.0
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
#: When a KeyboardInterrupt was last raised, by ``time.monotonic``.
_raised = -math.inf

REGISTRY = """
intent_classification: {fallback_flow: technical-analysis}
operational_flows:
  technical-analysis:
    id: 896f7eed-342e-4596-9429-6fb9b5fbd91b
    domain: technical
    intent_keywords: [database, python, docker, latency]
    examples: [How do I connect PostgreSQL to Python?, Why is my query slow?, How do I deploy a container?,
      What index does this join need?, How do I profile a Python service?]
  creative-orientation:
    id: 7d405a51-968d-4467-9ae6-d49bf182cdf9
    domain: creative
    intent_keywords: [poem, story, painting, imagine]
    examples: [Write a poem about the sea, Help me imagine a story, What should this painting show?,
      Give me a title for my novel, Describe the mood of the scene]
  document-qa:
    id: 2f6c2f0e-6f0b-4c52-9a51-6f1f0a3f7c11
    domain: documents
    intent_keywords: [contract, clause, pdf, paragraph]
    examples: [What does the contract say about notice?, Summarise this PDF, Which clause covers liability?,
      Where does the manual mention safety?, Quote the paragraph on fees]
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], object], *, seconds: float = 60.0, what: str = "") -> None:
    """Return when ``condition`` holds. Raises TimeoutError."""
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(0.02)


class LabProcess:
    """One process of the benchmark, in its own session."""

    def __init__(
        self, command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None, spoken: bool = False
    ) -> None:
        """``spoken``: it is talked to over its input and output, and only its errors go into the log."""
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **(env or {})},
                stdin=subprocess.PIPE if spoken else subprocess.DEVNULL,
                stdout=subprocess.PIPE if spoken else output,
                stderr=output if spoken else subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid
        self._seen = psutil.Process(self.pid)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def cpu_seconds(self) -> float:
        """CPU time so far of the process and its children."""
        total = 0.0
        for each in [self._seen, *self._seen.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                used = each.cpu_times()
                total += used.user + used.system
        return total

    def rss_mb(self) -> float:
        """Resident memory of the process and its children, pages shared between them counted once (USS + one share)."""
        total = 0
        for each in [self._seen, *self._seen.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                total += each.memory_full_info().pss
        return total / 2**20

    def say(self, line: str) -> None:
        """Write a line to the input of a process that is talked to."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def heard(self) -> str:
        """Return its next line; empty when it has ended."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().decode()

    def stop(self) -> None:
        """End the process in order, by force after 15 seconds."""
        if self.alive:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(15)
        self.kill()

    def kill(self) -> None:
        """End the process and its children at once. Harmless where they are gone already."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class Lab:
    """A folder for logs and data, and everything that was started in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._parts: list[LabProcess] = []

    def part(
        self, name: str, command: Sequence[str], env: Mapping[str, str] | None = None, *, spoken: bool = False
    ) -> LabProcess:
        # What it puts into temporary folders is removed with ours, also where it is killed.
        env = {"TMPDIR": str(self.folder), **(env or {})}
        with held():
            started = LabProcess(command, log=self.folder / f"{name}.log", env=env, spoken=spoken)
            self._parts.append(started)
        return started

    def broker(self, *options: str) -> tuple[LabProcess, str]:
        """Start a Valkey without persistence and return it with its URL."""
        port = free_port()
        data = self.folder / f"broker-{port}"
        data.mkdir()
        command = [server_binary(), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(data)]
        started = self.part(f"broker-{port}", [*command, "--save", "", "--appendonly", "no", *options])
        client = redis.Redis(port=port)
        wait_until(lambda: _pings(client), what="broker")
        client.close()
        return started, f"redis://127.0.0.1:{port}/0"

    def flows(self, milliseconds: int, pieces: int = 0) -> tuple[LabProcess, str]:
        """Start a flow server and return it with its address. With ``pieces`` it streams answers in so many tokens."""
        port = free_port()
        command = [sys.executable, "-m", "benchmarks.lab.flow_server", str(port), str(milliseconds), str(pieces)]
        started = self.part(f"flows-{port}", command)
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: _answers(url), what="flow server")
        return started, url

    def environment(self, broker: str, flows: str) -> dict[str, str]:
        """Return the environment of our workers and producers, and write their registry."""
        registry = self.folder / "flow-registry.yaml"
        registry.write_text(REGISTRY)
        return {
            "REDIS_URL": broker,
            "FLOWISE_BASE_URL": flows,
            "FLYWHEEL_REGISTRY": str(registry),
            "FLYWHEEL_HOME": str(self.folder / "home"),
            "FLYWHEEL_QUEUE_LIMIT": "2000000",
            # What is measured is the queue, not how many calls at once a real Flowise is spared.
            "FLYWHEEL_FLOWISE_CONCURRENCY": "100000",
        }

    def worker(
        self,
        name: str,
        env: Mapping[str, str],
        *,
        queues: str = "",
        concurrency: int = 2000,
        counted: Path | None = None,
    ) -> LabProcess:
        """Start one of our workers and return it once it takes queries.

        ``counted``: the file of one that counts its calls, see ``benchmarks.lab.counting``.
        """
        ready = self.folder / f"{name}.ready"
        module = ["benchmarks.lab.counting", str(counted)] if counted else ["workers"]
        command = [sys.executable, "-m", *module, "--name", name, "--ready-file", str(ready), "--log-level", "WARNING"]
        command += ["--queues", queues] if queues else []
        started = self.part(name, command, {**env, "FLYWHEEL_CONCURRENCY": str(concurrency)})
        wait_until(lambda: ready.exists() or not started.alive, what=f"worker {name}")
        if not started.alive:
            raise RuntimeError(started.log.read_text()[-3000:])
        return started

    def stop(self, *parts: LabProcess) -> None:
        """End these processes in order."""
        for each in parts:
            each.stop()

    def clear(self) -> None:
        """End at once everything that was started here, and remove the folder."""
        for each in reversed(self._parts):
            each.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def lab() -> Iterator[Lab]:
    """Yield a lab. When the block ends, also by Ctrl-C or SIGTERM, nothing that was started in it is left."""
    with interruptible(), _own_settings(), contextlib.ExitStack() as leaving:
        with held():
            opened = Lab(Path(tempfile.mkdtemp(prefix="flywheel-bench-")))
            leaving.callback(undisturbed(opened.clear))
        yield opened


@contextlib.contextmanager
def _own_settings() -> Iterator[None]:
    """Leave the shell's settings of ours out, and its proxy: all that a benchmark asks is on this machine."""
    bypassed = os.environ.get("no_proxy", os.environ.get("NO_PROXY", ""))
    with patch.dict(os.environ, {"no_proxy": f"127.0.0.1,{bypassed}"}):
        for name in [name for name in os.environ if name.startswith("FLYWHEEL_")]:
            del os.environ[name]
        yield


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Have SIGTERM and SIGINT raise KeyboardInterrupt, also where a shell has its background ignore SIGINT."""
    global _raised
    is_inner = signal.getsignal(signal.SIGALRM) is _as_ctrl_c
    if not is_inner:
        _raised = -math.inf
    usual = sys.unraisablehook

    def told(ignored: sys.UnraisableHookArgs) -> None:
        if not issubclass(ignored.exc_type, KeyboardInterrupt):  # which comes again
            usual(ignored)

    with _signals(_as_ctrl_c):
        sys.unraisablehook = told
        try:
            yield
        finally:
            sys.unraisablehook = usual
            if not is_inner:
                signal.setitimer(signal.ITIMER_REAL, 0)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Let a signal wait until the block has ended: what is started in it is on the list of what is to be ended."""
    came: list[int] = []
    with _signals(lambda number, _: came.append(number)):
        yield
    if came:
        signal.raise_signal(came[0])


def undisturbed(clear: Callable[[], None]) -> Callable[[], None]:
    """Return ``clear`` as a call that no signal cuts short."""

    def cleared() -> None:
        with _signals(signal.SIG_IGN):
            clear()

    return cleared


def _as_ctrl_c(number: int, _: object) -> None:
    # Raised in a finalizer or a weak reference's callback, the exception is ignored: it is raised again until the block
    # has ended.
    global _raised
    is_repeated = number != signal.SIGALRM and time.monotonic() < _raised + _ONCE
    if is_repeated:
        return
    _raised = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, _AGAIN)
    raise KeyboardInterrupt


@contextlib.contextmanager
def _signals(action: Any) -> Iterator[None]:
    before = {each: signal.signal(each, action) for each in _ENDING}
    try:
        yield
    finally:
        for each, former in before.items():
            signal.signal(each, former)


def _pings(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/calls", timeout=1):
            return True
    except OSError:
        return False


def flow_calls(url: str) -> int:
    """Return how many predictions a flow server has been asked for."""
    with urllib.request.urlopen(f"{url}/calls", timeout=5) as response:
        calls: int = json.load(response)["calls"]
        return calls
