"""Refuse a server that is not served, whoever connects to it: one that is too old, or in cluster mode.

An old one would take a query, and no worker would ever start there.
"""

from __future__ import annotations

from typing import Any

from redis.exceptions import ConnectionError

from agentic_flywheel.errors import BrokerTooOld

#: Oldest major version of the server. Older ones know no script flags, such as ``allow-oom``.
OLDEST_SERVER = 7


class ServerTooOld(ConnectionError):
    """A server has said at the start of a connection that it is too old."""

    def __init__(self, refused: BrokerTooOld) -> None:
        super().__init__(refused.message)
        self.refused = refused


class ToldWhatServer:
    """What our connections are made of: one to a server that is not served is not made, by its greeting."""

    async def read_response(self, *args: Any, **options: Any) -> Any:
        """Return a reply. Raises RedisError, OSError; ServerTooOld."""
        told = await super().read_response(*args, **options)  # type: ignore[misc]  # redis-py's connection is behind it
        if isinstance(told, dict) and {"server", "version", "proto"} <= told.keys():
            if told.get("mode") == "cluster":
                raise ConnectionError("CLUSTER")  # its refusal: see ``refusals``
            try:
                check_server(str(told["version"]))
            except BrokerTooOld as refused:
                raise ServerTooOld(refused) from None
        return told


def check_server(redis_version: str) -> None:
    """Raise BrokerTooOld unless the server is new enough. Valkey reports a ``redis_version`` of 7.2."""
    major = redis_version.split(".")[0]
    if major.isdecimal() and int(major) < OLDEST_SERVER:
        raise BrokerTooOld(found=f"Redis {redis_version}", needed=f"Redis {OLDEST_SERVER} or newer, or Valkey")
