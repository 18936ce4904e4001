"""Make clients for a broker's address: of a server, of a socket, or of Sentinels that name the primary."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from agentic_flywheel.broker.exchange import ToldClosed
from agentic_flywheel.broker.prefixes import put_below
from agentic_flywheel.broker.tls_spoken import ToldWhichWay
from agentic_flywheel.broker.versions import ToldWhatServer
from agentic_flywheel.endpoint import Endpoint, read_endpoint

#: What redis-py would say of itself to each new connection's server, and ask of it: a round trip for each. Nobody reads
#: the former, and our lines pass over the notices that the latter is for.
SILENT_GREETING: dict[str, Any] = {
    "driver_info": None,
    "maint_notifications_config": MaintNotificationsConfig(enabled=False),
}


def names_none(service: str) -> str:
    """Return what is said where no Sentinel knows the primary of this name."""
    return f"no Sentinel names a primary {service!r}"


class _Sentinels(Sentinel):
    """Sentinels whose silence is one short sentence: redis-py tells all that it knows of each client."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        try:
            found: tuple[str, int] = await super().discover_master(service_name)
        except MasterNotFoundError:
            raise MasterNotFoundError(names_none(service_name)) from None
        return found


class _PrimaryPool(SentinelConnectionPool):
    """Connections to the primary that the Sentinels name. It closes the connections to the Sentinels, too."""

    async def aclose(self) -> None:
        """Close all connections."""
        await super().aclose()
        await self.sentinel_manager.aclose()


def client_of(address: str, *, prefix: str, seconds: float, connect_seconds: float, **options: Any) -> Redis:
    """Return a client whose calls and attempts to connect end within so many seconds; redis-py repeats none.

    ``prefix``: of all its keys. ``options``: as `redis.asyncio.Connection` takes them. Nothing is connected yet.
    """
    client = _client(address, seconds, connect_seconds, options)
    kind = client.connection_pool.connection_class
    client.connection_pool.connection_class = type(kind.__name__, (ToldClosed, ToldWhichWay, ToldWhatServer, kind), {})
    return put_below(prefix, client)


def _client(address: str, seconds: float, connect_seconds: float, options: dict[str, Any]) -> Redis:
    options |= {
        "decode_responses": True,
        "socket_timeout": seconds,
        "socket_connect_timeout": connect_seconds,
        "retry": Retry(NoBackoff(), 0),
        **SILENT_GREETING,
    }
    where = read_endpoint(address)
    if where.scheme == "sentinel":
        return _through_sentinels(where, options)
    if where.scheme == "unix":
        login = {"username": where.username or None, "password": where.password or None}
        options |= {"unix_socket_path": where.path, "db": where.database, **login}
        return Redis(**options)
    return Redis.from_url(address, **options, socket_keepalive=True)


def _through_sentinels(where: Endpoint, options: dict[str, Any]) -> Redis:
    asking = {name: options[name] for name in ("socket_timeout", "socket_connect_timeout", "retry", "decode_responses")}
    asking |= {"username": where.sentinel_username or None, "password": where.sentinel_password or None}
    asking |= SILENT_GREETING
    login = {"username": where.username or None, "password": where.password or None}
    options |= {"socket_keepalive": True, **login}
    sentinels = _Sentinels(list(where.hosts), sentinel_kwargs=asking, **options)  # type: ignore[no-untyped-call]
    primary: Redis = sentinels.master_for(where.service, connection_pool_class=_PrimaryPool, db=where.database)
    return primary


def place_of(client: Redis) -> str:
    """Return where a client's server is, for messages, without its login."""
    pool = client.connection_pool
    at = pool.connection_kwargs
    database = at.get("db") or 0
    if isinstance(pool, SentinelConnectionPool):
        told = [each.connection_pool.connection_kwargs for each in pool.sentinel_manager.sentinels]
        hosts = tuple((str(each["host"]), int(each["port"])) for each in told)
        return Endpoint("sentinel", hosts, database=database, service=str(pool.service_name)).shown
    if issubclass(pool.connection_class, UnixDomainSocketConnection):
        return Endpoint("unix", path=str(at["path"]), database=database).shown
    assert issubclass(pool.connection_class, Connection)
    host = (str(at.get("host", "localhost")), int(at.get("port", 6379)))
    scheme = "rediss" if issubclass(pool.connection_class, SSLConnection) else "redis"
    return Endpoint(scheme, (host,), database=database).shown
