"""What a process says at its start that is to go on: each looks at its broker, and says what its settings lack."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from bad_broker import HELLO, Answers, says, serving
from processes import REPOSITORY, Valkey, free_port, wait_for

from agentic_flywheel.broker.starting import beside_broker
from agentic_flywheel.errors import BrokerUnavailable
from agentic_flywheel.installation import install_command
from agentic_flywheel.settings import Settings
from producer.cli.commands import COMMANDS
from producer.stack import start_stack

FLYWHEEL = ("-c", "import producer.cli as cli; cli.main()")
FLOWER = ("-P", "-m", "producer.stack.flower")
#: Every command that goes on, with what it says once it serves.
SERVING: dict[str, tuple[tuple[str, ...], str]] = {
    "worker": ((*FLYWHEEL, "worker"), r"flywheel@\S+ ready"),
    "serve": ((*FLYWHEEL, "serve", "--port", "0"), "The gateway serves"),
    "mcp": ((*FLYWHEEL, "mcp"), ""),
    "mcp over HTTP": ((*FLYWHEEL, "mcp", "--http", "0"), "The MCP bridge serves"),
    "Flower": ((*FLOWER, "--address=127.0.0.1", "--port={port}"), r"Connected to redis"),
    "up": ((*FLYWHEEL, "up", "--no-flower", "--no-gateway"), ""),
    "demo": ((*FLYWHEEL, "demo", "--exit"), ""),
}
#: They start a broker where none answers on this machine; elsewhere, whoever starts a stack is told at once.
STARTS_ITS_OWN = {"up", "demo"}
SECRET = "s3cretpassword"


def test_every_command_that_goes_on_is_walked() -> None:
    started = " ".join(" ".join(command) for command, _ in SERVING.values())
    handed_over = {name for name, each in COMMANDS.items() if each.module == "handed_over"}
    units = [unit.read_text() for unit in (REPOSITORY / "deploy" / "systemd").glob("*.service")]
    programs = {re.findall(r"^ExecStart=\S+ (?:-P -m )?([\w.]+)", unit, re.MULTILINE)[0] for unit in units}

    assert handed_over | programs | STARTS_ITS_OWN <= set(re.findall(r"[\w.]+", started))


class Started:
    """One of these commands, with what it has said. Its stdin stays open: a client of MCP holds it."""

    def __init__(self, name: str, folder: Path, url: str, **env: str) -> None:
        command = [part.format(port=free_port()) if "{port}" in part else part for part in SERVING[name][0]]
        self.log = folder / f"{name}.log"
        own = {
            "REDIS_URL": url,
            "FLYWHEEL_HOME": str(folder / f"home of {name}"),
            "FLYWHEEL_METRICS_PORT": "off",
            "FLOWISE_BASE_URL": "http://127.0.0.1:9",
            "FLOWER_BASIC_AUTH": "one:login",
            "PYTHONPATH": str(REPOSITORY),
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
        }
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**own, **env},
                cwd=folder,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def end(self) -> int:
        """Return the exit status once it has ended; a minute later it is killed."""
        try:
            return self.process.wait(timeout=90)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
            assert self.process.stdin is not None
            self.process.stdin.close()


def ends(name: str, folder: Path, url: str) -> tuple[int, str]:
    started = Started(name, folder, url)
    return started.end(), started.said


def told_of(told: Mapping[bytes, bytes]) -> Answers:
    """A server that answers some commands so, and any other with OK."""

    def answer(command: list[bytes]) -> bytes:
        return told.get(command[0].upper(), b"+OK\r\n")

    return answer


@pytest.mark.timeout(300)
def test_flower_names_a_port_that_it_cannot_have(tmp_path: Path, valkey: Valkey) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [part.format(port=port) for part in SERVING["Flower"][0]]
        said = subprocess.run(
            [sys.executable, *command],
            env={**os.environ, "REDIS_URL": valkey.url, "FLOWER_BASIC_AUTH": "one:login"},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    assert said.returncode == 2
    assert "Flower cannot listen there: Address already in use" in said.stderr
    assert "Traceback" not in said.stderr


OLD = told_of({b"HELLO": HELLO.replace(b"7.2.5", b"6.2.5")})
HTTP = says(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Valkey]:
    """A broker that asks for a password, with a user who lacks a right and one who lacks all scripts."""
    server = Valkey(tmp_path / "broker").start()
    with server.client() as client:
        for user, rules in {"some": "~* &* +@all -lpos", "mute": "~* +@all"}.items():
            client.execute_command("ACL", "SETUSER", user, "reset", "on", f">{SECRET}", *rules.split())
        client.config_set("requirepass", SECRET)
    yield server
    server.stop()


async def refusals(address: str, folder: Path) -> dict[str, tuple[int, str]]:
    """Return how every command ends with this broker, and what it says."""
    folder.mkdir()
    with ThreadPoolExecutor(4) as pool:
        loop = asyncio.get_running_loop()
        ending = {name: loop.run_in_executor(pool, ends, name, folder, address) for name in SERVING}
        return dict(zip(ending, await asyncio.gather(*ending.values()), strict=True))


def wrong(found: Mapping[str, tuple[int, str]], told: str) -> dict[str, tuple[int, str]]:
    """Return the commands that do not refuse with status 2 in one sentence, said first and once, with no secret."""

    def right(status: int, said: str) -> bool:
        first = said.splitlines()[0] if said else ""
        return status == 2 and told in first and said.count(told) == 1 and not re.search(f"Traceback|{SECRET}", said)

    return {name: each for name, each in found.items() if not right(*each)}


@pytest.mark.timeout(400)
async def test_a_broker_that_a_person_has_to_change_ends_each_at_its_start(guarded: Valkey, tmp_path: Path) -> None:
    place = f"127.0.0.1:{guarded.port}/0"
    refused = {
        f"redis://:x{SECRET}@{place}": "refuses the call (WRONGPASS)",
        f"redis://some:{SECRET}@{place}": "it lacks +lpos",
        f"redis://mute:{SECRET}@{place}": "it lacks &flywheel:*",
        f"redis://:{SECRET}@127.0.0.1:{guarded.port}/99": "it has no database of the number in REDIS_URL",
    }
    for number, (address, told) in enumerate(refused.items()):
        assert wrong(await refusals(address, tmp_path / f"r{number}"), told) == {}


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("answers", "told"),
    [(OLD, "The broker is Redis 6.2.5"), (HTTP, "refuses the call (UNREADABLE)")],
    ids=["of an old version", "another product"],
)
async def test_what_is_no_broker_of_today_ends_each_at_its_start(answers: Answers, told: str, tmp_path: Path) -> None:
    async with serving(answers) as address:
        found = await refusals(address, tmp_path / "refused")

    assert wrong(found, told) == {}


def goes_on(name: str, folder: Path, port: int, come: Callable[[], bool]) -> tuple[str, int]:
    """Start a command whose broker is away, and end it when it serves with one that has come."""
    started = Started(name, folder, f"redis://127.0.0.1:{port}/0", LANGFUSE_PUBLIC_KEY="pk-lf-alone")
    try:
        wait_for(lambda: "waits for it" in started.said, within=90, what=f"{name} says that it waits")
        wait_for(come, within=200, what="a broker has come")
        there, serves = "is there", SERVING[name][1]
        wait_for(lambda: there in started.said and re.search(serves, started.said), within=90, what=f"{name} serves")
    finally:
        if started.process.poll() is None:
            started.process.send_signal(signal.SIGTERM)
        status = started.end()
    return started.said, status


@pytest.mark.timeout(400)
async def test_a_broker_that_is_away_is_said_once_and_waited_for(tmp_path: Path) -> None:
    port = free_port()
    names = [name for name in SERVING if name not in STARTS_ITS_OWN]
    broker = Valkey(tmp_path / "broker", port=port)

    def has_come() -> bool:
        return broker._process is not None

    def start_broker() -> None:
        def said() -> bool:
            logs = [(tmp_path / f"{name}.log") for name in names]
            return all(log.exists() and "waits for it" in log.read_text() for log in logs)

        wait_for(said, within=180, every=0.1, what="all wait")
        time.sleep(2.5)  # each looks again, twice at least
        broker.start()

    with ThreadPoolExecutor(len(names) + 1) as pool:
        loop = asyncio.get_running_loop()
        starting = loop.run_in_executor(pool, start_broker)
        ending = [loop.run_in_executor(pool, goes_on, name, tmp_path, port, has_come) for name in names]
        try:
            found = dict(zip(names, await asyncio.gather(*ending), strict=True))
            await starting
        finally:
            if broker._process is not None:
                broker.stop()

    for name, (said, status) in found.items():
        assert status in (0, -signal.SIGTERM, 128 + signal.SIGTERM), (name, said)
        assert [said.count(each) for each in ("waits for it", "is there")] == [1, 1], (name, said)
        assert said.splitlines()[0].startswith(
            "LANGFUSE_PUBLIC_KEY is set and LANGFUSE_SECRET_KEY is not: traces go to a local file"
        ), (name, said)
        assert "Traceback" not in said, (name, said)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("name", sorted(STARTS_ITS_OWN))
def test_a_stack_whose_broker_is_elsewhere_and_away_is_not_started(name: str, tmp_path: Path) -> None:
    # A login makes it a broker that cannot be started here.
    status, said = ends(name, tmp_path, f"redis://:{SECRET}@127.0.0.1:{free_port()}/0")

    assert status == 3
    assert "nothing answers there, and one like it cannot be started on this machine" in said.splitlines()[0]
    assert SECRET not in said


async def test_a_stack_whose_broker_is_a_replica_is_not_started(tmp_path: Path) -> None:
    """Its workers waited, and nobody was told."""
    replica = Valkey(tmp_path / "replica", options=("--replicaof", "127.0.0.1", str(free_port()))).start()
    settings = Settings(redis_url=replica.url, home=tmp_path)
    try:
        with pytest.raises(BrokerUnavailable, match="it is a replica"):
            async with start_stack(settings, workers=0, flower=False, sandbox=False, on_line=lambda _: None):
                raise AssertionError("it has started")
    finally:
        replica.stop()


@pytest.mark.timeout(200)
def test_a_bridge_without_an_address_takes_no_other_program_for_its_broker(
    guarded: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where neither REDIS_URL nor a stack says where the broker is, one that refuses is not the last word."""

    at = f"redis://127.0.0.1:{guarded.port}/0"
    named = Settings(redis_url=at, home=tmp_path)
    unnamed = named.model_copy()
    object.__setattr__(unnamed, "__pydantic_fields_set__", set())
    now, said = [unnamed], list[str]()

    async def serve() -> None:
        async with beside_broker(lambda: now[0], "The bridge", said.append):
            now[0] = Settings(redis_url=at.replace("//", f"//:{SECRET}@"), home=tmp_path)
            async with asyncio.timeout(30):
                while len(said) < 2:
                    await asyncio.sleep(0.05)

    asyncio.run(serve())

    assert "(NOAUTH)" in said[0]
    assert said[0].endswith("The bridge waits for a stack.")
    assert said[1] == f"The broker at {at} is there."


@pytest.mark.timeout(120)
async def test_a_stack_without_the_gateways_extra_says_what_to_install(
    valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fastapi", None)
    said = list[str]()
    settings = Settings(redis_url=valkey.url, home=tmp_path)
    async with start_stack(
        settings, workers=0, flower=False, sandbox=False, gateway=True, on_line=said.append
    ) as stack:
        assert stack.info.api_url is None

    (line,) = [each for each in said if each.startswith("API")]
    assert "The HTTP gateway needs the package fastapi" in line
    assert install_command("serve") in line
