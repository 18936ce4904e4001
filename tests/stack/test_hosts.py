"""Workers on hosts of their own, of which one is cut off and comes back, and one dies: nothing accepted is lost."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from closing import BROKER_AWAY
from pipeline.house import REGISTRY
from processes import Process, wait_for
from stack.hosts import Hosts, NoNamespaces, hosts

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.audit import audit
from agentic_flywheel.settings import Settings
from producer.stack.broker import server_binary


class Site:
    """A broker, a gateway with flows, and two workers, each on a host of its own."""

    def __init__(self, here: Hosts, folder: Path) -> None:
        self.hosts, self.folder = here, folder
        self.token = secrets.token_hex(16)
        self.registry = folder / "flow-registry.yaml"
        self.registry.write_text(REGISTRY)
        self.socket, self.stop = folder / "broker.sock", folder / "stop"
        self.env = {
            "REDIS_URL": f"redis://{here.address('broker')}:6379/0",
            "FLOWISE_BASE_URL": f"http://{here.address('gateway')}:3000",
            "FLYWHEEL_REGISTRY": str(self.registry),
            "FLYWHEEL_HOME": str(folder / "home"),
            "FLYWHEEL_FLOWISE_CONCURRENCY": "100",
        }
        self.processes: dict[str, Process] = {}
        #: How the test reaches the broker, from outside the hosts.
        self.client = redis.Redis(unix_socket_path=str(self.socket), decode_responses=True)

    @property
    def settings(self) -> Settings:
        return Settings(redis_url=f"unix://{self.socket}?db=0", registry=self.registry, home=self.folder / "home")

    def start(self) -> None:
        data = self.folder / "data"
        data.mkdir()
        broker = [server_binary(), "--port", "6379", "--bind", self.hosts.address("broker"), "--dir", str(data)]
        broker += ["--protected-mode", "no", "--unixsocket", str(self.socket), "--appendonly", "yes", "--save", ""]
        self.run("broker", "broker", *broker)
        wait_for(self.socket.exists, within=30, what="the broker is there")
        python = (sys.executable, "-m")
        flows = ("flowise_sandbox", "--host", "0.0.0.0", "--port", "3000", "--registry", str(self.registry))
        self.run("flows", "gateway", *python, *flows, "--latency", "1")
        gateway = ("http_gateway", "--host", "0.0.0.0", "--port", "8766", "--log-level", "INFO")
        served = self.run("gateway", "gateway", *python, *gateway, FLYWHEEL_MCP_TOKENS=f"me={self.token}")
        for name in ("one", "two"):
            self.run(name, name, *python, "workers", "--name", name, "--ready-file", str(self.ready(name)))
        wait_for(lambda: re.search(r"serves \S+", served.log), within=60, what="the gateway serves")
        wait_for(
            lambda: self.ready("one").exists() and self.ready("two").exists(), within=60, what="workers take queries"
        )

    def run(self, name: str, host: str, *command: str, **env: str) -> Process:
        log = self.folder / f"{name}.log"
        process = Process(self.hosts.on(host, command), log=log, env={**self.env, **env})
        self.processes[name] = process
        return process

    def ready(self, name: str) -> Path:
        return self.folder / f"{name}.ready"

    def taken(self) -> set[str]:
        """Return the tags of the messages that workers hold."""
        return set(self.client.hkeys(wire.UNACKED))  # type: ignore[arg-type]

    def end(self) -> None:
        for process in reversed(self.processes.values()):
            process.kill()
        self.client.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    try:
        with hosts("broker", "gateway", "one", "two") as here:
            site = Site(here, tmp_path)
            try:
                site.start()
                yield site
            finally:
                site.end()
    except NoNamespaces as reason:
        pytest.skip(f"no hosts can be made here: {reason}")


@pytest.mark.timeout(150)
@pytest.mark.provokes(BROKER_AWAY, "does not answer")
async def test_a_host_that_is_cut_off_and_one_that_dies_lose_nothing(site: Site) -> None:
    address = f"http://{site.hosts.address('gateway')}:8766"
    asker = site.run("asker", "gateway", sys.executable, "-m", "stack.host_asker", address, site.token, str(site.stop))

    def held_by_both() -> bool:
        return len(site.taken()) >= 20

    def age_of(name: str) -> float:
        return time.time() - site.ready(name).stat().st_mtime

    # Each query takes a second, and 15 or so come in one: both workers have some.
    await asyncio.to_thread(wait_for, held_by_both, within=30, what="both workers have queries")
    held = site.taken()
    site.hosts.cut_off("one")
    # By then the other one has ended what it had, each in a second.
    await asyncio.to_thread(wait_for, lambda: age_of("one") > 4, within=20, what="the worker has lost its broker")
    its_own = held & site.taken()
    # What it held goes to the other after the visibility time-out, and ends there.
    await asyncio.to_thread(wait_for, lambda: not held & site.taken(), within=30, what="its queries went to the other")
    site.hosts.heal("one")
    await asyncio.to_thread(wait_for, lambda: age_of("one") < 2, within=30, what="the worker is back")
    held = site.taken()
    site.hosts.cut_off("two")
    site.processes["two"].send(signal.SIGKILL)
    await asyncio.to_thread(wait_for, lambda: not held & site.taken(), within=30, what="the dead one's queries went on")
    site.stop.touch()
    assert await asyncio.to_thread(asker.wait, within=60) == 0
    told = json.loads(asker.log.splitlines()[-1])
    audited = await audit(site.settings)

    assert its_own
    assert told["refused"] == 0
    assert set(told["states"]) == {"succeeded"}
    assert told["states"]["succeeded"] > 100
    assert (audited.offenders, audited.open) == ((), 0)
