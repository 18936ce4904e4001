"""The command line as a user has it: the real command, and one running stack that all these tests share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import processes
import pytest
from processes import wait_for

from agentic_flywheel.stack import StackInfo
from flowise_sandbox.flows import BUNDLED
from producer.cli import main

COMMAND = str(Path(sys.executable).parent / "flywheel")
CREATIVE = "7d405a51-968d-4467-9ae6-d49bf182cdf9"
TECHNICAL = "896f7eed-342e-4596-9429-6fb9b5fbd91b"
DOCUMENTS = "2f6c2f0e-6f0b-4c52-9a51-6f1f0a3f7c11"
_FOREIGN = ("FLYWHEEL_", "LANGFUSE_", "REDIS_", "FLOWISE_")


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Every line of stdout as JSON; a line that is none fails the test."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def object(self) -> dict[str, Any]:
        (only,) = self.objects
        return only


#: Runs ``flywheel …`` inside the test's own process, with the shared stack's home. Quick, for what needs no process.
Flywheel = Callable[..., Outcome]


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return an environment in which nothing of this machine's own settings is left."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    # The workers of other tests take the usual ports for figures while a stack is starting.
    own = {"HOME": str(home.parent), "FLYWHEEL_HOME": str(home), "FLYWHEEL_METRICS_PORT": "0"}
    return {**kept, **own, **more}


def start(
    arguments: Sequence[str], env: Mapping[str, str], folder: Path, *, stdin: int = subprocess.DEVNULL
) -> subprocess.Popen[str]:
    """Start the real command in a session of its own."""
    if arguments[0] in ("up", "demo"):
        processes.homes.append(Path(env["FLYWHEEL_HOME"]))
    return subprocess.Popen(
        [COMMAND, *arguments],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(env),
        cwd=folder,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], *, within: float = 60.0) -> Outcome:
    """Return what a command said once it has ended; end it by force after ``within`` seconds."""
    try:
        out, err = process.communicate(timeout=within)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"still running after {within} s:\n{out}\n{err}") from None
    return Outcome(process.returncode, out, err)


def survivors(home: Path) -> list[str]:
    """Return the command lines of all processes that were started with this home."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(home).encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # it ended meanwhile, or is another user's
            continue
    return found


@dataclass(frozen=True)
class RunningStack:
    """The stack that ``flywheel up`` runs for these tests."""

    home: Path
    info: StackInfo

    @property
    def env(self) -> dict[str, str]:
        return environment(self.home)

    def behave(self, flow_id: str, **behaviour: Any) -> None:
        """Set how one flow of the sandbox behaves, from now on."""
        # Workers remember for half a minute whether a flow honours overrides: the next test would still read otherwise.
        self._put(f"/sandbox/flows/{flow_id}/behaviour", {"overrides": True, **behaviour})

    def build(self, flow_id: str, **built: str) -> None:
        """Build a flow of the sandbox in another way."""
        self._put(f"/sandbox/flows/{flow_id}", built)

    def _put(self, path: str, body: dict[str, Any]) -> None:
        request = urllib.request.Request(
            f"{self.info.flowise_url}{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            method="PUT",
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            assert response.status == 200


@pytest.fixture(scope="session")
def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    folder = tmp_path_factory.mktemp("stack")
    home = folder / "home"
    process = start(["up", "--no-flower", "--json"], environment(home), folder)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.stderr.read() if process.stderr else ""
        yield RunningStack(home, StackInfo.model_validate_json(line))
    finally:
        process.send_signal(signal.SIGINT)
        finish(process, within=30)


@pytest.fixture
def stack(shared_stack: RunningStack) -> Iterator[RunningStack]:
    """The shared stack, whose flows are quick, honour overrides and never fail unless the test says otherwise."""
    yield shared_stack
    for flow in BUNDLED:
        shared_stack.build(flow.id, **flow.model_dump(mode="json", exclude={"id"}))
        shared_stack.behave(flow.id)


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder and an environment without any stack, settings or registry; returns the folder."""
    for name in [name for name in os.environ if name.startswith(_FOREIGN)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FLYWHEEL_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def bare_flywheel(apart: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Flywheel:
    """Run a command where no stack runs."""

    def run(*arguments: str, stdin: str = "") -> Outcome:
        monkeypatch.setattr(sys, "argv", ["flywheel", *arguments])
        monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(stdin.encode()), encoding="utf-8"))
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return Outcome(int(left.value.code or 0), said.out, said.err)

    return run


@pytest.fixture
def flywheel(stack: RunningStack, bare_flywheel: Flywheel, monkeypatch: pytest.MonkeyPatch) -> Flywheel:
    """Run a command beside the shared stack."""
    monkeypatch.setenv("FLYWHEEL_HOME", str(stack.home))
    return bare_flywheel


@pytest.fixture
def until(flywheel: Flywheel) -> Callable[[str, str], dict[str, Any]]:
    """Wait until a query is in a state; return its record."""

    def wait(query_id: str, state: str) -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            record = flywheel("status", query_id, "--json").object
            return record if record["state"] == state else None

        record = wait_for(reached, every=0.1, what=f"query {query_id} {state}")
        assert record is not None
        return record

    return wait
