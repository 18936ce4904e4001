"""What every test may use: one real Valkey, a clean database on it, a sandbox Flowise, and real workers."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import closing
import processes
import pytest
from client_rooms import chromium_program
from processes import COVERS_PROCESSES, REPOSITORY, Process, Valkey, wait_for
from redis.asyncio import Redis

from agentic_flywheel.broker.batch import Batch, connect
from agentic_flywheel.settings import Settings

pytest_plugins = ("time_out",)

#: Starts one `python -m workers` and returns when it is ready. Keyword arguments are further environment variables.
StartWorker = Callable[..., Process]

#: Folders whose tests measure what their processes cover, too, and which modules of `processes.FORKED` they measure.
#: Others run the same code, and measured it takes half as long again.
MEASURED: dict[str, set[str]] = {
    "gateway": set(),
    "mcp": set(),
    "pipeline": {"workers"},
    "sandbox": {"flowise_sandbox"},
}
#: Folders whose tests take longest. They begin first: a folder stays in one process, and the last one would run alone.
LONGEST = (
    "acceptance",
    "stack",
    "mcp",
    "gateway",
    "pipeline",
    "person",
    "replay",
    "losses",
    "audit",
    "versions",
    "producer",
    "protocol",
    "shipping",
    "engine",
    "access",
    "registry",
    "flowise",
    "backends",
)
_held_back: dict[str, str] = {}
#: Whether a test itself has passed: after a failure its leftovers are no news.
_PASSED = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults", action="store_true", help="the fault storms in full, not their short form")
    parser.addoption("--storm", type=float, metavar="MINUTES", help="everything at once for so long, and nothing else")
    parser.addoption("--flowise", metavar="URL", help="tests on a real Flowise, nothing else")
    parser.addoption("--openai", metavar="URL", help="tests on a real OpenAI-compatible server, nothing else")
    parser.addoption("--http", metavar="REGISTRY", help="tests on the real servers of a registry, nothing else")
    parser.addoption("--seed", type=int, metavar="N", help="draw the storm that had this seed")
    parser.addoption("--without", default="", metavar="NAMES", help="queries and faults that a storm leaves out")
    parser.addoption("--only-faults", default="", metavar="NAMES", help="the only faults of a storm")


def pytest_configure() -> None:
    # A run that is terminated clears its processes away, as one that is interrupted does; and what it starts can be
    # interrupted also where a shell has it ignore that, in its background.
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``-n`` a folder stays in one process: what its tests share, such as a standing stack, starts once."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFolder(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
        def _split_scope(self, nodeid: str) -> str:
            return str(Path(nodeid.partition("::")[0]).parent)

    return ByFolder(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=_place)
    minutes = config.getoption("--storm")
    real_servers = {f"{name}_real" for name in ("flowise", "openai", "http") if config.getoption(f"--{name}")}
    if real_servers:
        real = [item for item in items if item.path.parent.name in real_servers]
        config.hook.pytest_deselected(items=[item for item in items if item not in real])
        items[:] = real
    storms = [item for item in items if item.get_closest_marker("storm")]
    if minutes:
        config.hook.pytest_deselected(items=[item for item in items if item not in storms])
        items[:] = storms
    for item in storms:
        # It bounds itself; this is for what does not end.
        item.add_marker(pytest.mark.timeout(600 + 60 * (minutes or 0)))
        if not minutes:
            item.add_marker(pytest.mark.skip(reason="a storm: python3 run.py test --storm MINUTES"))
    if config.getoption("--faults"):
        return
    for item in items:
        if item.get_closest_marker("faults"):
            item.add_marker(pytest.mark.skip(reason="a full storm: python3 run.py test --faults"))


def _place(item: pytest.Item) -> int:
    folder = next(iter(item.path.relative_to(REPOSITORY / "tests").parts))
    return LONGEST.index(folder) if folder in LONGEST else len(LONGEST)


@pytest.hookimpl(tryfirst=True)  # before any fixture starts a process
def pytest_runtest_setup(item: pytest.Item) -> None:
    folder = item.path.relative_to(REPOSITORY / "tests").parts[0]
    processes.measured = frozenset(MEASURED.get(folder, ()))
    if folder in MEASURED:
        os.environ.update(_held_back)
    elif COVERS_PROCESSES in os.environ:
        _held_back[COVERS_PROCESSES] = os.environ.pop(COVERS_PROCESSES)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[_PASSED] = report.passed
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """End every test with the audit of the brokers that workers read, and a look through all logs.

    A hook, not a fixture: an autouse fixture is torn down last, when the stack is gone.
    """
    passed = item.stash.get(_PASSED, False)
    try:
        complaints = closing.look(expected_in(item), audited=passed)
    except Exception as fault:  # such as a method that the test has replaced; what it has opened is closed all the same
        complaints = [f"nobody could look at what is left: {fault!r}"]
    yield
    # What was said in parting.
    complaints += closing.look(expected_in(item), audited=False)
    if passed and complaints:
        pytest.fail("the test has passed, but this is left:\n" + "\n".join(complaints), pytrace=False)


def expected_in(item: pytest.Item) -> list[str]:
    return [pattern for mark in item.iter_markers("provokes") for pattern in mark.args]


@pytest.fixture(scope="session")
def chromium() -> str:
    """Give the program of a headless browser."""
    return chromium_program()


@pytest.fixture(scope="session")
def full_storm(pytestconfig: pytest.Config) -> bool:
    """Whether storms run in full. Without ``--faults`` a test takes its short form."""
    return bool(pytestconfig.getoption("--faults"))


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = Valkey(tmp_path_factory.mktemp("valkey")).start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def broker_url(valkey: Valkey) -> str:
    return valkey.url


@pytest.fixture
async def redis_client(broker_url: str) -> AsyncIterator[Redis]:
    """A client as the product makes them, on an empty database."""
    client = connect(broker_url)
    await client.flushdb()
    yield client
    await client.aclose()


@pytest.fixture
async def batch(redis_client: Redis) -> Batch:
    """Calls gathered over that client."""
    return Batch(redis_client)


@pytest.fixture
def settings(broker_url: str, tmp_path: Path) -> Settings:
    """Settings of the session's broker, with a home of their own."""
    return Settings(redis_url=broker_url, home=tmp_path / ".flywheel")


@pytest.fixture(scope="session")
def sandbox_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one sandbox Flowise for the whole session."""
    log = tmp_path_factory.mktemp("sandbox") / "sandbox.log"
    server = Process([sys.executable, "-u", "-m", "flowise_sandbox", "--port", "0"], log=log)
    try:
        said = wait_for(lambda: re.search(r"http://\S+", server.log), within=60, what="the sandbox says its address")
        yield said[0].rstrip("/")
    finally:
        server.terminate()


@pytest.fixture
def start_flywheel_worker(broker_url: str, tmp_path: Path) -> Iterator[StartWorker]:
    """Start workers of the product; they are stopped, in the end by force, when the test is over."""
    started: list[Process] = []

    def start(
        name: str = "worker", *, queues: str = "", flowise: str = "", events: bool = False, **env: str
    ) -> Process:
        ready = tmp_path / f"{name}.ready"
        command = [sys.executable, "-m", "workers", "--name", name, "--ready-file", str(ready)]
        command += ["--queues", queues] if queues else []
        addresses = {"REDIS_URL": broker_url, **({"FLOWISE_BASE_URL": flowise} if flowise else {})}
        worker = Process(command, log=tmp_path / f"{name}.log", env={**addresses, **env})
        started.append(worker)
        wait_for(lambda: ready.exists() or not worker.alive, within=60, what=f"{name} ready")
        assert worker.alive, f"{name} did not start:\n{worker.log[-2000:]}"
        return worker

    yield start
    for worker in started:
        if worker.alive:
            worker.terminate(within=20)
        worker.kill()
