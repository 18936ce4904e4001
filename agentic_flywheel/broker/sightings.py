"""Read everything in a running broker that can move a query, in bounded steps: one look of the audit.

Pages of a few hundred entries, plain commands, no script: nobody else waits for a look. The broker goes on meanwhile,
so one look is not one moment. Places are read in the order in which messages pass through them, sorted sets from the
end at which nothing leaves: what moves on while it is read is then rather seen twice than not at all.
"""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, NamedTuple

from redis.asyncio import Redis

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.clients import client_of
from agentic_flywheel.broker.key_types import PAGE, SINGLE, Client, read_keys
from agentic_flywheel.broker.stops import who_asks
from agentic_flywheel.broker.wire import QueryStage
from agentic_flywheel.models import TERMINAL

_STAGES = {
    wire.CLASSIFY: QueryStage.CLASSIFY,
    wire.ANSWER: QueryStage.ANSWER,
    wire.SYNTHESIZE: QueryStage.SYNTHESIZE,
}
#: By family, what its keys in the broker are named by.
_Ours = dict[wire.Family, list[str]]

_FIELDS = {name: name.encode() for name in (
    "v", "state", "reason", "created", "domain", "flow", "attached_to", "session", "parts", "attempts", "fence", "at",
    "route", "owner", "bytes",
)}  # fmt: skip


class StepTaken(NamedTuple):
    """What a task message is for: one step of one query, or of one part of it."""

    #: None for a query of a later version: this one cannot tell what it needs next.
    stage: QueryStage | None
    query_id: str
    part: str = ""

    @property
    def execution(self) -> str:
        return f"{self.query_id}|{self.part}" if self.part else self.query_id


class WaitingPlace(NamedTuple):
    """Where a message was seen."""

    kind: Literal["message", "delivery", "delayed", "parked"]
    #: Of a message and a delivery the queue, of a delayed one its base queue, of a parked one its flow.
    where: str
    #: Of a delivery: when its lease was last renewed, in seconds since 1970; None where it has no lease.
    renewed: float | None = None


@dataclass
class Look:
    """Everything that was seen."""

    #: The server's time at the begin, in milliseconds since 1970.
    now: int = 0
    #: Queues that living workers say they read. Where there is any, sweeps serve `swept`.
    read: set[str] = field(default_factory=set)
    #: Names of what sweeps look after: ``parked`` flows, ``delayed`` queues.
    swept: dict[str, set[str]] = field(default_factory=dict)
    #: Open queries as the workers know them, all (``""``) and by domain.
    counted: dict[str, set[str]] = field(default_factory=dict)
    #: Of each owner, the bytes that each open query counts, and their sum as it is kept.
    owned: dict[str, dict[str, int]] = field(default_factory=dict)
    owned_bytes: dict[str, int] = field(default_factory=dict)
    #: Every record's fields, of those that have ended only what the counters need.
    records: dict[str, dict[str, str]] = field(default_factory=dict)
    steps: dict[StepTaken, list[WaitingPlace]] = field(default_factory=lambda: defaultdict(list))
    #: Messages and deliveries that nobody can read: where they lie, and how they can be told apart.
    unreadable: set[tuple[str, str]] = field(default_factory=set)
    waiting_turns: dict[str, set[str]] = field(default_factory=dict)
    lines: dict[str, list[str]] = field(default_factory=dict)
    #: Leader of each follower.
    follows: dict[str, str] = field(default_factory=dict)
    #: The follower that took the place of a leader that is gone.
    heirs: dict[str, str] = field(default_factory=dict)
    #: Leaders whose followers sweeps are giving their outcome.
    settling: set[str] = field(default_factory=set)
    #: Executions that hold a lease.
    leased: set[str] = field(default_factory=set)
    #: Of each flow, until when (milliseconds) each execution has one of its places.
    running: dict[str, dict[str, float]] = field(default_factory=dict)
    #: By query that waits for a person, the parts that ask one; '' is the whole query.
    asked: dict[str, set[str]] = field(default_factory=dict)
    #: Parts that are done.
    done: dict[str, set[str]] = field(default_factory=dict)
    #: The delayed entry that is due first: its time in milliseconds, and itself.
    due: dict[str, tuple[float, str]] = field(default_factory=dict)

    #: Keys of another type than theirs: that type, and theirs. Where `SINGLE` has one of them, nothing else was read.
    spoilt: dict[str, tuple[str, str]] = field(default_factory=dict)
    #: Records that hold what is not UTF-8.
    garbled: set[str] = field(default_factory=set)
    #: Records of ended queries that will never expire.
    kept_for_ever: set[str] = field(default_factory=set)

    def open(self, query_id: str) -> bool:
        """Whether a query is accepted and has not ended."""
        fields = self.records.get(query_id)
        return fields is not None and fields["state"] not in TERMINAL

    def note(self, raw: str, place: WaitingPlace) -> None:
        """Note a task message that was seen somewhere. Tasks of other apps are none of ours."""
        try:
            step = read_step(json.loads(raw))
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
            self.unreadable.add((place.where, raw[:200]))
            return
        if step is not None:
            self.steps[step].append(place)


def read_step(message: dict[str, Any]) -> StepTaken | None:
    """Return what a task message is for; None for a task of another app. Raises what unreadable ones lead to."""
    stage = _STAGES.get(message["headers"]["task"])
    version = message["headers"].get("v")
    if type(version) is int and version > wire.VERSION:
        execution = message["properties"].get("execution") or message["headers"]["id"]
        return StepTaken(None, str(execution).partition("|")[0])
    if stage is None:
        return None
    if stage == QueryStage.CLASSIFY:
        return StepTaken(stage, str(message["headers"]["id"]))
    body = message["body"]
    arguments = json.loads(base64.b64decode(body) if message["properties"].get("body_encoding") == "base64" else body)[
        0
    ]
    return StepTaken(stage, str(arguments[0]), str(arguments[3]) if stage == QueryStage.ANSWER else "")


def connect(url: str, *, prefix: str = "", timeout: timedelta = timedelta(seconds=10)) -> Redis:
    """Return a client that reads what is no UTF-8 too: anybody may put anything into a list."""
    seconds = timeout.total_seconds()
    return client_of(url, prefix=prefix, seconds=seconds, connect_seconds=seconds, encoding_errors="replace")


async def look_around(client: Client) -> Look:
    """Read everything once. Raises redis' own errors."""
    seen = Look()
    seconds, micro = await client.time()
    seen.now = seconds * 1000 + micro // 1000
    keys, queues, seen.spoilt = await read_keys(client)
    if seen.spoilt.keys() & SINGLE.keys():
        return seen
    await _workers(client, seen)
    await _counted(client, seen, keys)
    await _records(client, seen, keys[wire.record_key])
    await _beside_the_queues(client, seen, keys)
    # Messages leave a backlog for its list, and from its small end.
    lying = [("ZREVRANGE", wire.backlog_key(queue), queue) for queue in keys[wire.backlog_key]]
    for command, key, queue in (*lying, *(("LRANGE", queue, queue) for queue in queues)):
        async for page in _pages(client, command, key):
            for raw in page:
                seen.note(raw, WaitingPlace("message", queue))
    await _deliveries(client, seen)
    # What left the hands of a worker while these were read is in one of the places before them.
    await _beside_the_queues(client, seen, keys)
    return seen


async def last_events(client: Client, query_ids: Sequence[str]) -> dict[str, str]:
    """Return the number of each query's last event: where there is a new one, the query has moved."""
    events: dict[str, str] = {}
    for start in range(0, len(query_ids), PAGE):
        page = query_ids[start : start + PAGE]
        pipe = client.pipeline(transaction=False)
        for query_id in page:
            pipe.xrevrange(wire.events_key(query_id), count=1)
        for query_id, last in zip(page, await pipe.execute(), strict=True):
            events[query_id] = last[0][0] if last else ""
    return events


async def _workers(client: Client, seen: Look) -> None:
    for worker in await client.smembers(wire.WORKERS):
        reads = await client.hget(wire.alive_key(worker), "reads")
        if reads is not None:
            seen.read.update(reads.split("\n"))
    seen.swept = {
        "parked": set(await client.hkeys(wire.PARKED_FLOWS)),
        "delayed": set(await client.smembers(wire.DELAYED_QUEUES)),
    }


async def _counted(client: Client, seen: Look, keys: _Ours) -> None:
    seen.counted[""] = {query_id async for query_id, _ in client.zscan_iter(wire.OPEN, count=PAGE)}
    for domain in keys[wire.open_in_key]:
        seen.counted[domain] = {each async for each in client.sscan_iter(wire.open_in_key(domain), count=PAGE)}
    for owner in {*keys[wire.underway_key], *keys[wire.underway_bytes_key]}:
        entries = [each async for each in client.hscan_iter(wire.underway_key(owner), count=PAGE)]
        seen.owned[owner] = {query_id: int(counted) for query_id, counted in entries}
        seen.owned_bytes[owner] = int(await client.get(wire.underway_bytes_key(owner)) or 0)


async def _records(client: Client, seen: Look, query_ids: Sequence[str]) -> None:
    for start in range(0, len(query_ids), PAGE):
        page = query_ids[start : start + PAGE]
        pipe = client.pipeline(transaction=False)
        for query_id in page:
            pipe.execute_command("HGETALL", wire.record_key(query_id), NEVER_DECODE=True)
            pipe.ttl(wire.record_key(query_id))
        found = await pipe.execute()
        for query_id, raw, ttl in zip(page, found[::2], found[1::2], strict=True):
            if not all(map(_is_text, raw.values())):
                seen.garbled.add(wire.record_key(query_id))
            fields = {name: raw[key].decode(errors="replace") for name, key in _FIELDS.items() if key in raw}
            if ttl == -2:
                continue
            ended = fields.get("state") in TERMINAL or "state" not in fields
            if ended:
                fields = {"state": fields.get("state", ""), "v": fields.get("v", "")}
                if ttl == -1:
                    seen.kept_for_ever.add(query_id)
            seen.records[query_id] = fields


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


async def _beside_the_queues(client: Client, seen: Look, keys: _Ours) -> None:
    await _waiting(client, seen, keys)
    for where in keys[wire.parked_key]:
        await _kept(client, seen, "parked", where)
    for where in keys[wire.delayed_key]:
        await _kept(client, seen, "delayed", where)


async def _waiting(client: Client, seen: Look, keys: _Ours) -> None:
    for session in keys[wire.waiting_turns_key]:
        waiting_turns = [entry async for entry in client.hscan_iter(wire.waiting_turns_key(session), count=PAGE)]
        seen.waiting_turns.setdefault(session, set()).update(query_id for query_id, _ in waiting_turns)
    for session in keys[wire.line_key]:
        seen.lines[session] = [each async for page in _pages(client, "LRANGE", wire.line_key(session)) for each in page]
    for leader in keys[wire.heir_key]:
        heir = await client.get(wire.heir_key(leader))
        if heir is not None:
            seen.heirs[leader] = heir
    seen.asked |= await who_asks(client)
    seen.settling.update(await client.smembers(wire.SETTLING))
    for leader in keys[wire.followers_key]:
        async for follower, _ in client.hscan_iter(wire.followers_key(leader), count=PAGE):
            seen.follows[follower] = leader
    for query_id in keys[wire.parts_key]:
        seen.done.setdefault(query_id, set()).update(await client.hkeys(wire.parts_key(query_id)))
    leases = keys[wire.lease_key]
    for start in range(0, len(leases), PAGE):
        for holder in await client.mget([wire.lease_key(name) for name in leases[start : start + PAGE]]):
            if holder is not None:
                seen.leased.add(holder.rpartition("#")[0])
    for flow in keys[wire.running_key]:
        slots = [slot async for slot in client.zscan_iter(wire.running_key(flow), count=PAGE)]
        seen.running[flow] = dict(slots)


async def _kept(client: Client, seen: Look, kind: Literal["parked", "delayed"], where: str) -> None:
    key = (wire.parked_key if kind == "parked" else wire.delayed_key)(where)
    # From the end at which nothing leaves: what is taken from the other end meanwhile shifts nobody's place.
    async for page in _pages(client, "ZREVRANGE", key):
        for entry in page:
            # Execution, tag, queue and message, a line each.
            seen.note(entry.split("\n", 3)[-1], WaitingPlace(kind, where))
    if kind == "delayed" and (first := await client.zrange(key, 0, 0, withscores=True)):
        seen.due[where] = (first[0][1], first[0][0])


async def _deliveries(client: Client, seen: Look) -> None:
    cursor = None
    while cursor != 0:
        cursor, page = await client.hscan(wire.UNACKED, cursor or 0, count=PAGE)
        if not page:
            continue
        renewed = await client.zmscore(wire.UNACKED_INDEX, list(page))
        for (tag, entry), lease in zip(page.items(), renewed, strict=True):
            try:
                message, _, queue = json.loads(entry)
                step = read_step(message)
            except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
                seen.unreadable.add((wire.UNACKED, tag))
                continue
            if step is not None:
                seen.steps[step].append(WaitingPlace("delivery", str(queue), lease))


async def _pages(client: Client, command: str, key: str) -> AsyncIterator[list[str]]:
    start = 0
    while True:
        page: list[str] = await client.execute_command(command, key, start, start + PAGE - 1)
        if page:
            yield page
        if len(page) < PAGE:
            return
        start += PAGE
