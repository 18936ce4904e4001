"""What a storm breaks, and mends again: each fault returns when all is well, after a few seconds at most."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import redis
from faults.proxy import Proxy
from pipeline.house import House
from processes import Process, wait_for
from rolled_back import Kept, roll_back
from versions.later import environment

Fault = Callable[["Weather"], None]

#: Workers that stand between two faults; one of them behind a network that can be cut.
WORKERS = 3
#: The share of workers of the next version, and of workers whose registry is older.
OF_LATER, OF_OLDER = 0.3, 0.3
#: A flow that is not in the older registry.
NEWEST_FLOW = "prose"


class RolledBack(NamedTuple):
    """A broker's file without its end."""

    kept: Kept
    #: When the broker was back, on the monotonic clock.
    at: float

    def may_lack(self, query_id: str, asked: float) -> bool:
        """Return whether nothing is known of a query because the file had lost it."""
        return asked < self.at and query_id not in self.kept.states and query_id not in self.kept.unrecorded


class Weather:
    """Breaks one house."""

    def __init__(self, house: House, draw: random.Random, disk: Path | None, later: Path) -> None:
        """``later``: the folder of the next version."""
        self.house, self.draw = house, draw
        #: What a worker of that version, and one of an older registry, has in its environment.
        self.later = environment(later)
        self.older = {"FLYWHEEL_REGISTRY": str(house.folder / "older-registry.yaml")}
        text = house.registry.read_text()
        at = text.index(f"  {NEWEST_FLOW}:")
        older = text[:at] + text[text.index("  forgetful:", at) :]
        # What falls back on it there falls back on another here: else the older registry would be refused.
        (house.folder / "older-registry.yaml").write_text(older.replace("fallback: prose", "fallback: narrow"))
        #: The broker's own small disk, where there is one.
        self.disk = disk
        self.proxy = Proxy(house.broker.port)
        self.text = house.registry.read_text()
        self.starts = 0
        #: Workers that a fault has ended. Any other that ends has fallen over what it was sent.
        self.ended: list[Process] = []
        self.fallen: dict[str, str] = {}
        #: How the broker's file last lost its end.
        self.rolled_back: RolledBack | None = None

    def start_workers(self) -> None:
        """Start workers until there are enough; return when they take queries."""
        house = self.house
        new = []
        while sum(worker.alive for worker in house.workers) < WORKERS:
            behind = self.starts % WORKERS == 0
            self.starts += 1
            url = f"redis://127.0.0.1:{self.proxy.port}/0" if behind else None
            drawn = {"FLYWHEEL_METRICS_PORT": "off"}
            drawn |= self.later if self.draw.random() < OF_LATER else {}
            drawn |= self.older if self.draw.random() < OF_OLDER else {}
            new.append(house.worker(wait=False, redis_url=url, **drawn))  # type: ignore[arg-type]
        for worker in new:
            with suppress(AssertionError):
                house.ready(worker)
        for worker in house.workers:
            if not worker.alive and worker not in self.ended:
                self.fallen[worker.log_file.name] = _last_words(worker.log)

    def end(self, worker: Process, signum: signal.Signals) -> None:
        """End a worker on purpose."""
        self.ended.append(worker)
        worker.send(signum)
        worker.wait(within=60)

    def standing(self) -> list[Process]:
        return [worker for worker in self.house.workers if worker.alive]

    def one_worker(self) -> Process:
        self.start_workers()
        return self.draw.choice(self.standing())

    def admin(self) -> redis.Redis:
        return redis.Redis(port=self.house.broker.port, decode_responses=True, socket_timeout=10)

    def mend(self) -> None:
        """Undo whatever a fault may have left when it was interrupted."""
        self.proxy.heal()
        self.house.change_registry(self.text)
        if not self.house.broker.process.alive:
            self.house.broker.start()
        with self.admin() as admin:
            admin.execute_command("REPLICAOF", "NO", "ONE")
            for name, value in (("maxmemory", 0), ("min-replicas-to-write", 0), ("save", "")):
                admin.config_set(name, value)
        self.start_workers()
        # Whatever was drawn: somebody is there who knows everything.
        for code in ({}, self.later):
            self.house.worker(FLYWHEEL_METRICS_PORT="off", **code)  # type: ignore[arg-type]


def worker_is_killed(storm: Weather) -> None:
    storm.end(storm.one_worker(), signal.SIGKILL)


def all_workers_are_killed(storm: Weather) -> None:
    for worker in storm.standing():
        storm.end(worker, signal.SIGKILL)


def worker_stands_still(storm: Weather) -> None:
    worker = storm.one_worker()
    os.kill(worker.pid, signal.SIGSTOP)
    time.sleep(storm.draw.uniform(1, 9))
    os.kill(worker.pid, signal.SIGCONT)


def worker_is_asked_to_stop(storm: Weather) -> None:
    storm.end(storm.one_worker(), signal.SIGTERM)


def broker_is_killed(storm: Weather) -> None:
    storm.house.broker.kill()
    time.sleep(storm.draw.uniform(0.2, 2))
    storm.house.broker.start()


def broker_loses_the_end_of_its_file(storm: Weather) -> None:
    """A power loss with ``appendfsync everysec``: what the file does not hold any more was never accepted."""
    kept = roll_back(storm.house.broker, storm.draw)
    storm.rolled_back = RolledBack(kept, time.monotonic())


def broker_stands_still(storm: Weather) -> None:
    pid = storm.house.broker.process.pid
    os.kill(pid, signal.SIGSTOP)
    time.sleep(storm.draw.uniform(1, 6))
    os.kill(pid, signal.SIGCONT)


def broker_has_no_memory(storm: Weather) -> None:
    with storm.admin() as admin:
        admin.config_set("maxmemory", 1)
        time.sleep(storm.draw.uniform(0.5, 3))
        admin.config_set("maxmemory", 0)


def broker_is_read_only(storm: Weather) -> None:
    with storm.admin() as admin:
        admin.execute_command("REPLICAOF", "127.0.0.1", "1")
        time.sleep(storm.draw.uniform(0.5, 3))
        admin.execute_command("REPLICAOF", "NO", "ONE")


def broker_misses_its_replicas(storm: Weather) -> None:
    with storm.admin() as admin:
        admin.config_set("min-replicas-to-write", 1)
        time.sleep(storm.draw.uniform(0.5, 3))
        admin.config_set("min-replicas-to-write", 0)


def snapshot_fails(storm: Weather) -> None:
    """MISCONF on every write, until a snapshot succeeds again."""
    hindrance = storm.house.broker.folder / "dump.rdb"
    if hindrance.is_file():
        hindrance.unlink()
    hindrance.mkdir(exist_ok=True)
    with storm.admin() as admin:
        try:
            admin.config_set("save", "3600 1")
            admin.bgsave()
            time.sleep(storm.draw.uniform(1, 3))
        finally:
            hindrance.rmdir()
            admin.config_set("save", "")


def disk_is_full(storm: Weather) -> None:
    if storm.disk is None:
        return
    filler = storm.disk / "filler"
    subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=64k"], capture_output=True, check=False)
    time.sleep(storm.draw.uniform(1, 4))
    filler.unlink()
    # As docs/engine.md tells operators: the file may have a hole by now, and Valkey 9.1 would not start with it.
    with storm.admin() as admin:
        idle: Any = lambda: not admin.info("persistence")["aof_rewrite_in_progress"]  # noqa: E731
        wait_for(idle, within=60, what="an earlier rewrite has ended")
        admin.bgrewriteaof()
        wait_for(idle, within=60, what="the file is written anew")


def network_is_cut(storm: Weather) -> None:
    storm.proxy.cut()
    time.sleep(storm.draw.uniform(1, 9))
    storm.proxy.heal()


def flowise_is_killed(storm: Weather) -> None:
    house = storm.house
    house.sandbox.kill()
    time.sleep(storm.draw.uniform(0.2, 2))
    house.serve_again()
    behave(house)


def registry_changes(storm: Weather) -> None:
    """A flow comes, one goes, a limit changes; some seconds later all is as before."""
    text = storm.draw.choice(
        [
            storm.text + "  novel:\n    id: 00000000-0000-4000-8000-000000000002\n    domain: technical\n",
            storm.text[: storm.text.index("  narrow:")] + storm.text[storm.text.index("  brief:") :],
            storm.text.replace("concurrency: 2", "concurrency: 1"),
        ]
    )
    storm.house.change_registry(text)
    time.sleep(storm.draw.uniform(1, 5))
    storm.house.change_registry(storm.text)


FAULTS: tuple[Fault, ...] = (
    worker_is_killed, all_workers_are_killed, worker_stands_still, worker_is_asked_to_stop, broker_is_killed,
    broker_loses_the_end_of_its_file, broker_loses_the_end_of_its_file, broker_stands_still, broker_has_no_memory,
    broker_is_read_only, broker_misses_its_replicas, snapshot_fails, disk_is_full, network_is_cut, flowise_is_killed,
    registry_changes,
)  # fmt: skip


def behave(house: House) -> None:
    """Let every flow behave in its own way: slow, dripping, failing, refusing, hanging."""
    from pipeline.house import APPROVAL, FRAGILE, SPARING, STUBBORN, TECHNICAL

    house.behave(latency=0.05)
    house.behave(TECHNICAL, latency=0.4)
    house.build(APPROVAL, style="approval")
    house.behave(APPROVAL, latency=0.1, stops=2)
    house.behave("7d405a51-968d-4467-9ae6-d49bf182cdf9", latency=0.1, token_delay=0.02)
    house.behave(FRAGILE, latency=0.1, fault="gateway_502", fault_share=0.5, seed=5)
    house.behave(SPARING, latency=0.1, rate_limit={"calls": 4, "seconds": 1.0})
    house.behave(STUBBORN, fault="hang", fault_share=0.5, seed=6)


def _last_words(log: str) -> str:
    said = [line for line in log.splitlines() if re.match(r"[A-Za-z_.]*(Error|Exception)\b", line)]
    return said[-1][:200] if said else log[-200:]


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """Mount a small file system for the broker, where that may be done; else yield None."""
    folder.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256m", "storm", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        sys.stderr.write(f"no full disk in this storm: {mounted.stderr.decode().strip()}\n")
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)
