"""A broker with a replica and three Sentinels that watch them, all with passwords, as real processes."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any
from urllib.parse import quote

import redis
from processes import Process, Valkey, free_port, wait_for

from producer.stack.broker import server_binary

PASSWORD, SENTINELS_PASSWORD = "of the servers", "of the sentinels"
SERVICE = "main"
_SENTINELS = 3
#: Milliseconds of silence after which a Sentinel takes a server for down, and that a failover may take.
_DOWN_AFTER, _FAILOVER = 1000, 10_000


class Replicated:
    """A primary that is given, its replica, and their Sentinels."""

    def __init__(self, folder: Path, primary: Valkey) -> None:
        self.first, self.folder = primary, folder
        primary.client().config_set("masterauth", PASSWORD)
        primary.client().config_set("requirepass", PASSWORD)
        options = ("--replicaof", f"127.0.0.1 {primary.port}", "--masterauth", PASSWORD)
        self.second = Valkey(folder / "replica", aof=True, options=options).start()
        self.second.client().config_set("requirepass", PASSWORD)
        wait_for(lambda: self._info(self.second)["master_link_status"] == "up", within=30, what="the replica follows")
        self.ports = [free_port() for _ in range(_SENTINELS)]
        self.sentinels = [self._sentinel(port) for port in self.ports]
        try:
            wait_for(self._see_each_other, within=60, what="the Sentinels see each other and the replica")
        except BaseException:
            self.stop()
            raise

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        own = quote(SENTINELS_PASSWORD)
        return f"sentinel://:{quote(PASSWORD)}@{hosts}/0?service={SERVICE}&sentinel_password={own}"

    def client(self, server: Valkey) -> redis.Redis:
        return redis.Redis(port=server.port, password=PASSWORD, decode_responses=True)

    def cut_off_replica(self) -> None:
        """End the replication, and have the replica be refused from now on."""
        self.client(self.second).config_set("masterauth", "another")
        self.client(self.first).client_kill_filter(_type="replica")
        wait_for(lambda: self._info(self.second)["master_link_status"] == "down", what="it is cut off")

    def promoted(self) -> None:
        """Wait until the replica is the primary, and the Sentinels say so."""
        wait_for(lambda: self._info(self.second)["role"] == "master", within=60, what="the replica is promoted")
        wait_for(lambda: self._address() == self.second.port, within=30, what="the Sentinels name the new primary")

    def bring_back(self) -> None:
        """Start the first server again, which has been killed, and wait until it is a replica of the second."""
        with self.first.start().client() as client:
            client.config_set("masterauth", PASSWORD)
            client.config_set("requirepass", PASSWORD)
        wait_for(lambda: self._info(self.first)["role"] == "slave", within=60, what="the old primary follows")

    def stop(self) -> None:
        for each in self.sentinels:
            each.kill()
        self.second.stop()

    def _info(self, server: Valkey) -> dict[str, str]:
        with contextlib.suppress(redis.RedisError), self.client(server) as client:
            return dict(client.info("replication"))
        return {"role": "", "master_link_status": ""}

    def _sentinel(self, port: int) -> Process:
        folder = self.folder / f"sentinel-{port}"
        folder.mkdir()
        told = {
            "port": port,
            "bind": "127.0.0.1",
            "dir": folder,
            "requirepass": f'"{SENTINELS_PASSWORD}"',
            "sentinel sentinel-pass": f'"{SENTINELS_PASSWORD}"',
            f"sentinel monitor {SERVICE}": f"127.0.0.1 {self.first.port} 2",
            f"sentinel auth-pass {SERVICE}": f'"{PASSWORD}"',
            f"sentinel down-after-milliseconds {SERVICE}": _DOWN_AFTER,
            f"sentinel failover-timeout {SERVICE}": _FAILOVER,
        }
        file = folder / "sentinel.conf"
        file.write_text("".join(f"{name} {value}\n" for name, value in told.items()))
        return Process([server_binary(), str(file), "--sentinel"], log=folder / "sentinel.log")

    def _ask(self, port: int, *command: str) -> Any:
        with redis.Redis(port=port, password=SENTINELS_PASSWORD, decode_responses=True) as client:
            return client.execute_command("SENTINEL", *command)

    def _see_each_other(self) -> bool:
        with contextlib.suppress(redis.RedisError):
            states = [self._ask(port, "MASTER", SERVICE) for port in self.ports]
            seen = {(int(each["num-other-sentinels"]), int(each["num-slaves"])) for each in states}
            return seen == {(_SENTINELS - 1, 1)}
        return False

    def _address(self) -> int:
        named = set()
        for port, process in zip(self.ports, self.sentinels, strict=True):
            if process.alive:
                named.add(self._ask(port, "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])
        return int(named.pop()) if len(named) == 1 else 0
