"""What a broker loses when it fails, in seconds, as its settings say. docs/engine.md explains each case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from agentic_flywheel.broker.batch import connect
from agentic_flywheel.settings import Settings

#: The settings that decide it.
_SETTINGS = ("appendfsync", "no-appendfsync-on-rewrite", "min-replicas-to-write", "min-replicas-max-lag")
#: Most seconds that are lost with the machine's power, by ``appendfsync``. Where the disk is slow, Redis holds up its
#: callers after two seconds; where nobody asks for it, Linux writes after thirty.
_LOST_WITH_POWER = {"always": 0, "everysec": 2, "no": 30}


class Promise(NamedTuple):
    """What is kept and what is not."""

    found: str
    #: What to do about it; empty where nothing has to be done.
    advice: str = ""


async def rules_of(settings: Settings) -> dict[Any, Any]:
    """Return the broker's own settings that decide what it keeps. Raises RedisError, OSError."""
    async with connect(settings.redis_url, prefix=settings.key_prefix) as client:
        try:
            return dict(await client.config_get(*_SETTINGS))
        except ResponseError:  # a rented broker seldom allows it
            return {}


def on_disk(about: Mapping[str, Any], settings: Mapping[Any, Any]) -> Promise:
    """Return what the broker's disk keeps. ``about`` is what INFO says; ``settings`` is empty where it is not known."""
    if not int(about.get("aof_enabled", 0)):
        age = max(0, int(about.get("server_time_usec", 0)) // 1_000_000 - int(about.get("rdb_last_save_time", 0)))
        advice = "CONFIG SET appendonly yes: without it a crash of the broker loses what is queued"
        return Promise(f"append-only file off: a crash loses all since the last snapshot or start, {age} s ago", advice)
    if about.get("aof_last_write_status", "ok") != "ok":
        return Promise("append-only file on, but the last write to it failed", "make room on its disk; see its log")
    policy = settings.get("appendfsync")
    if policy not in _LOST_WITH_POWER:
        return Promise("append-only file on: a crash loses nothing; what a power loss costs is not known (CONFIG GET)")
    if settings.get("no-appendfsync-on-rewrite") == "yes":
        advice = "CONFIG SET no-appendfsync-on-rewrite no: else nothing is written to disk during a rewrite"
        return Promise(f"append-only file, appendfsync {policy}, but a power loss during a rewrite loses 30 s", advice)
    seconds = _LOST_WITH_POWER[policy]
    lost = f"up to the last {seconds} s" if seconds else "nothing either"
    advice = "CONFIG SET appendfsync everysec: a power loss then loses 2 s at most" if policy == "no" else ""
    return Promise(f"append-only file, appendfsync {policy}: a crash loses nothing, a power loss {lost}", advice)


def in_replicas(about: Mapping[str, Any], settings: Mapping[Any, Any]) -> Promise | None:
    """Return what a failover to a replica loses; None where there is no replica."""
    replicas = int(about.get("connected_slaves", 0))
    if not replicas:
        return None
    needed, lag = settings.get("min-replicas-to-write", "0"), settings.get("min-replicas-max-lag", "10")
    if int(needed) > 0 and int(lag) > 0:
        return Promise(f"{replicas}, asynchronous; {needed} must be there: a failover loses up to the last {lag} s")
    advice = "CONFIG SET min-replicas-to-write 1: then no write is accepted that would lack a replica for 10 s"
    return Promise(f"{replicas}, asynchronous: a failover loses without limit what they lack", advice)
