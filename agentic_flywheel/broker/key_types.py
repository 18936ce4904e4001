"""The keys that the audit reads, with the types that they should have: another program may have written one."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.prefixes import prefix_of, without

#: A ``Redis`` that decodes. redis-py declares every reply as text or bytes, whichever was asked for.
Client = Any

#: Entries in one command, and commands in one round trip.
PAGE = 300
#: Keys that one command of a scan looks at: of most it says nothing.
_SCANNED = 1000
_TYPES = ("string", "list", "set", "zset", "hash", "stream")

#: Keys of ours, of kombu, of Celery's remote control and results: no task queue is called like one of them.
_NO_QUEUE = (wire.PREFIX, wire.result_key.start, "_kombu.", "unacked")

#: The families of keys of which each look reads all members, by their Redis type.
_FAMILIES = {
    "hash": (wire.record_key, wire.underway_key, wire.waiting_turns_key, wire.followers_key, wire.parts_key),
    "list": (wire.line_key,),
    "set": (wire.open_in_key,),
    "string": (wire.underway_bytes_key, wire.heir_key, wire.lease_key),
    "zset": (wire.parked_key, wire.delayed_key, wire.backlog_key, wire.running_key),
}
_READ = {family.start: (family, kind) for kind, families in _FAMILIES.items() for family in families}
_START = re.compile("|".join(map(re.escape, _READ)))
#: The keys without which nothing can be told, with their types.
SINGLE = {
    wire.DEADLINES: "zset",
    wire.DELAYED_QUEUES: "set",
    wire.NUMBERS: "hash",
    wire.OPEN: "zset",
    wire.PARKED_FLOWS: "hash",
    wire.SETTLING: "set",
    wire.SUSPECTS: "zset",
    wire.UNACKED: "hash",
    wire.UNACKED_INDEX: "zset",
    wire.WORKERS: "set",
}


class Keys(NamedTuple):
    """The keys of a broker, as far as the audit reads them."""

    #: By family, what its keys are named by.
    ours: dict[wire.Family, list[str]]
    #: The names of the task queues.
    queues: list[str]
    #: Keys of another type than theirs, which are not among those above: that type, and theirs.
    spoilt: dict[str, tuple[str, str]]


async def read_keys(client: Client) -> Keys:
    """Return all keys that are read. Raises redis' own errors."""
    ours: dict[wire.Family, list[str]] = {family: [] for family, _ in _READ.values()}
    queues: set[str] = set()
    prefix = prefix_of(client)
    spoilt: dict[str, tuple[str, str]] = {}
    # A scan for each type: to ask the type of each key takes several times as long.
    for kind in _TYPES:
        async for told in client.scan_iter(count=_SCANNED, _type=kind):
            (key,) = without(prefix, [told])
            if not prefix and _is_anothers(key):
                continue
            start = _START.match(key)
            family, usual = _READ[start[0]] if start else (None, SINGLE.get(key) or ("list" if _is_ours(key) else kind))
            if kind != usual:
                spoilt[key] = kind, usual
            elif family is not None:
                ours[family].append(key[len(family.start) :])
            elif kind == "list" and not key.startswith(_NO_QUEUE) and not key.endswith(".pidbox"):
                queues.add(key)
    return Keys({family: sorted(set(names)) for family, names in ours.items()}, sorted(queues), spoilt)


def _is_anothers(key: str) -> bool:
    """Whether a key is one of an installation that has a prefix, while we have none."""
    _, mark, name = key.partition(":")
    return bool(mark) and not key.startswith(_NO_QUEUE) and (name.startswith(_NO_QUEUE) or _is_ours(name))


def _is_ours(queue: str) -> bool:
    base = wire.base_of(queue)
    return base in (wire.CLASSIFY_QUEUE, wire.SYNTHESIS_QUEUE) or wire.domain_queue.of(base) is not None
