"""Find everything in Redis that belongs to one asker, or to one session, and delete it.

Nothing is believed of indexes, which forget sooner than what they name: every key that can hold somebody's words is
looked at. That may take minutes; whoever asks for it can wait.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from agentic_flywheel.asker import Asker, session_id_of
from agentic_flywheel.broker import scripts, wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.executions import chat_id
from agentic_flywheel.broker.persistence import metadata_of
from agentic_flywheel.broker.scanning import PAGE, keys_of, members_of, noted, number_in, pages_of, text_in
from agentic_flywheel.broker.stored import DAMAGE, asker_counted, read_stored
from agentic_flywheel.errors.base import FORMER_NAMES
from agentic_flywheel.models import TERMINAL, Query, State

_FIELDS = (
    "owner", "asker", "query", "state", "session", "attached_to", "calls", "at", "created", "ttl", "finished", "error",
)  # fmt: skip

#: States of queries whose call was cut, and errors after which Flowise may go on with a call.
_GIVEN_UP = (State.CANCELLED, State.EXPIRED)
_UNHEARD = ("FlowTimeout", "ServerUnreachable", *FORMER_NAMES)


class Person(NamedTuple):
    """Whose words are to be forgotten: an owner's with all users, one user's, or those of one session."""

    asker: Asker
    session_id: str | None = None

    def has(self, name: str | None, session_id: str | None = None) -> bool:
        """Whether what belongs to the asker of this name, and was said in this session, is the person's."""
        if self.session_id is None:
            return self.asker.may_see_named(name)
        return name == self.asker.name and session_id == self.session_id


class PersonQuery(NamedTuple):
    """A query of the person's."""

    query_id: str
    state: str
    created: str
    session: str
    at: str
    #: Of each call that was made for it: the flow's key, and the chat that Flowise was told.
    chats: tuple[tuple[str, str], ...]
    #: When it ended, in seconds since 1970; 0 where it has not.
    finished: float
    #: Whether it ended, or failed, while its call went on in Flowise.
    given_up: bool


class Belongings(NamedTuple):
    """What a look over all records found."""

    queries: list[PersonQuery]
    #: Queries of others that were given the answer of one of these: their id, the leader's, and seconds they are kept.
    followers: list[tuple[str, str, int]]
    #: Keys, and members of keys, of which nobody can say whose they are.
    unreadable: list[str]

    @property
    def open(self) -> list[PersonQuery]:
        """Those that have not ended, the newest first: cancelling the first of a session would start the next."""
        found = [each for each in self.queries if each.state not in TERMINAL]
        return sorted(found, key=lambda each: number_in(each.created), reverse=True)


async def find(batch: Batch, person: Person) -> Belongings:
    """Return the person's queries; ``batch`` has U+FFFD for what is not UTF-8. Raises BrokerUnavailable."""
    queries: list[PersonQuery] = []
    unreadable: list[str] = []
    attached: list[tuple[str, str, int]] = []
    async for key in keys_of(batch, wire.record_key("*")):
        with noted(key, unreadable):
            fields = dict(zip(_FIELDS, await batch.call("HMGET", key, *_FIELDS), strict=True))
        if key in unreadable:
            continue
        query_id = wire.record_key.of(key) or ""
        if person.has(fields["asker"] or fields["owner"], session_id_of(fields["session"] or "") or None):
            queries.append(_found(query_id, fields))
        elif "\ufffd" in "".join((key, *(fields[name] or "" for name in ("owner", "asker", "session")))) or (
            fields["query"] and not (fields["asker"] or fields["owner"])
        ):
            unreadable.append(key)
        elif fields["attached_to"]:
            attached.append((query_id, fields["attached_to"].partition("|")[0], int(number_in(fields["ttl"]))))
    known = {each.query_id for each in queries}
    return Belongings(queries, [each for each in attached if each[1] in known], unreadable)


def _found(query_id: str, fields: dict[str, Any]) -> PersonQuery:
    calls = [line.split(" ", 2) for line in (fields["calls"] or "").splitlines() if " " in line]
    return PersonQuery(
        query_id,
        fields["state"] or "",
        fields["created"] or "0",
        fields["session"] or "",
        fields["at"] or "",
        tuple((flow, chat_id(query_id, fence)) for fence, flow, *_ in calls),
        number_in(fields["finished"]) / 1000,
        fields["state"] in _GIVEN_UP or any(f'"{each}"' in (fields["error"] or "") for each in _UNHEARD),
    )


async def cancel(batch: Batch, found: Sequence[PersonQuery]) -> int:
    """Cancel open queries, and take their messages out of where they wait. Raises BrokerUnavailable."""
    ids = [each.query_id for each in found]
    count = 0
    for some in pages_of(ids):
        cancelled = await scripts.cancel(batch, owner="", asker="", reason="its asker is forgotten", ids=some)
        count += sum(state != "unknown" for state in cancelled.states)
    for queue in {line[1] for each in found if len(line := each.at.split("\n")) > 1 and line[0] == "q"}:
        await _unqueue(batch, queue, set(ids))
    for family in (wire.delayed_key, wire.parked_key):
        async for key in keys_of(batch, family("*")):
            async for member, _ in members_of(batch, "ZSCAN", key):
                if member.partition("\n")[0].partition("|")[0] in ids:
                    await batch.call("ZREM", key, member)
    for each in found:
        # Its trace is of no use to anybody now.
        await batch.call("LREM", wire.UNTRACED, 0, each.query_id)
    return count


async def _unqueue(batch: Batch, queue: str, ids: set[str]) -> None:
    length = await batch.call("LLEN", queue)
    for start in range(0, length, PAGE):
        for message in await batch.call("LRANGE", queue, start, start + PAGE - 1):
            with suppress(*DAMAGE):
                if json.loads(message)["headers"]["id"] in ids:
                    await batch.call("LREM", queue, 0, message)
    backlog = wire.backlog_key(queue)
    async for message, _ in members_of(batch, "ZSCAN", backlog):
        with suppress(*DAMAGE):
            if json.loads(message)["headers"]["id"] in ids:
                await batch.call("ZREM", backlog, message)


async def running(batch: Batch, found: Iterable[PersonQuery]) -> bool:
    """Return whether a worker still works on one of these. Raises BrokerUnavailable."""
    for each in found:
        for flow in {flow for flow, _ in each.chats}:
            if await batch.call("ZSCORE", wire.running_key(flow), each.query_id) is not None:
                return True
    return False


async def delete(batch: Batch, person: Person, found: Belongings) -> Counter[str]:
    """Delete everything of the person's; return how much of what. Raises BrokerUnavailable.

    Adds to ``found.unreadable`` what is damaged and may be the person's.
    """
    unreadable = found.unreadable
    gone: Counter[str] = Counter()
    ids = {each.query_id for each in found.queries}
    for follower, leader, ttl in found.followers:
        await _leave_answer(batch, leader, follower, ttl)
    gone["dead letters"] = await _letters(batch, person, ids, unreadable)
    gone["scores"] = await _scores(batch, person, ids, unreadable)
    gone["lessons"] = await _lessons(batch, person, ids, unreadable)
    gone["kept answers"] = await _answers(batch, person, ids, unreadable)
    gone["batches"] = await _bundles(batch, person, ids, unreadable)
    gone["sessions"] = await _sessions(batch, person, {each.session for each in found.queries if each.session})
    gone["queries"] = len(ids)
    for some in pages_of(sorted(ids)):
        parts = [part for each in some async for part in _parts(batch, each)]
        kinds = (wire.record_key, wire.events_key, wire.result_key, wire.parts_key, wire.successor_key)
        await batch.call("UNLINK", *(kind(each) for kind in kinds for each in some), *parts)
        for key in (wire.owned_key(person.asker.owner), *await _own(batch, wire.owned_key, person.asker)):
            await batch.call("ZREM", key, *some)
    if person.session_id is None:
        gone["files"] = await _files(batch, person)
        for key in await _own(batch, wire.owned_key, person.asker):
            await batch.call("UNLINK", key)
        async for key in keys_of(batch, wire.tally_key("*")):
            names = [name for name in await batch.call("HKEYS", key) if person.has(asker_counted(name))]
            if names:
                await batch.call("HDEL", key, *names)
        if person.asker.user is None:
            await _allowance(batch, person.asker.owner)
    return gone


async def _allowance(batch: Batch, owner: str) -> None:
    """Delete what is counted for an owner's limits and turns."""
    async for key in keys_of(batch, wire.rotation_key("*")):
        async for line, _ in members_of(batch, "ZSCAN", key):
            if line.partition(" ")[2] == owner:
                await batch.call("ZREM", key, line)
    days = [key async for key in keys_of(batch, wire.calls_key("*")) if key.rpartition(":")[0] == wire.calls_key(owner)]
    await batch.call("UNLINK", wire.underway_key(owner), wire.underway_bytes_key(owner), *days)


async def _files(batch: Batch, person: Person) -> int:
    """Delete the files of the person's queries. Those of a session were deleted with the end of its queries."""
    count = 0
    for family in (wire.blob_key, wire.blob_users_key):
        async for key in keys_of(batch, family("*")):
            if person.has((family.of(key) or "").rpartition(" ")[0]):
                if family is wire.blob_key and await batch.call("LINDEX", key, 0) == "0":
                    await batch.call("SADD", wire.DOOMED_FILES, await batch.call("LINDEX", key, 1))
                await batch.call("UNLINK", key)
                count += family is wire.blob_key
    for entry in await batch.call("ZRANGE", wire.BLOBS, 0, -1):
        if person.has(entry.partition(" ")[2].rpartition(" ")[0]):
            await batch.call("ZREM", wire.BLOBS, entry)
    return count


async def _parts(batch: Batch, query_id: str) -> AsyncIterator[str]:
    """Yield the keys of what belongs to the parts of a query that was sent to several flows."""
    for name in await batch.call("HKEYS", wire.record_key(query_id)):
        kind, _, part = name.partition("|")
        if kind == "at" and part:
            yield wire.result_key(f"{query_id}-{part}")


async def _leave_answer(batch: Batch, leader: str, follower: str, ttl: int) -> None:
    """Give a query of another asker a copy of the answer that it shares: it asked the same.

    It has one already where the leader was cancelled amid its call: as the call gave it, in the leader's names.
    """
    stored = await batch.call("GET", wire.result_key(follower)) or await batch.call("GET", wire.result_key(leader))
    with suppress(*DAMAGE):
        meta = json.loads(stored or "")
        meta["result"] |= {"query_id": follower, "session_id": None, "trace_id": "", "chat_id": None}
        meta["task_id"] = follower
        left = await batch.call("TTL", wire.record_key(follower))
        written = json.dumps(meta, ensure_ascii=False)
        await batch.call("SET", wire.result_key(follower), written, "EX", left if left > 0 else ttl or 86400)


async def _letters(batch: Batch, person: Person, ids: set[str], unreadable: list[str]) -> int:
    doomed: list[str] = []
    for query_id in await batch.call("ZRANGE", wire.DEAD_LETTERS, 0, -1):
        key = wire.letter_key(query_id)
        if query_id in ids:
            doomed.append(query_id)
            continue
        with noted(key, unreadable):
            if (stored := await batch.call("GET", key)) is not None:
                query = Query.model_validate(json.loads(stored)["query"])
                if person.has(query.asker.name, query.session_id):
                    doomed.append(query_id)
    for some in pages_of(doomed):
        await batch.call("ZREM", wire.DEAD_LETTERS, *some)
        await batch.call("UNLINK", *map(wire.letter_key, some))
    return len(doomed)


async def _scores(batch: Batch, person: Person, ids: set[str], unreadable: list[str]) -> int:
    count = 0
    async for key in keys_of(batch, wire.scores_key("*")):
        query_id, kept, by = wire.scores_key.of(key) or "", {}, set()
        with noted(key, unreadable):
            kept = await batch.call("HGETALL", key)
        for name, stored in kept.items() if query_id not in ids else ():
            with noted(f"{key} {name}", unreadable):
                by.add(text_in(json.loads(stored)["by"]))
        if query_id in ids or (person.session_id is None and any(map(person.has, by))):
            await batch.call("UNLINK", key)
            if kept:
                await batch.call("ZREM", wire.UNSENT_SCORES, *(f"{query_id}\n{name}" for name in kept))
            count += len(kept)
    return count


async def _lessons(batch: Batch, person: Person, ids: set[str], unreadable: list[str]) -> int:
    count = 0
    async for key in keys_of(batch, wire.lessons_key("*")):
        shelf = wire.lessons_key.of(key) or ""
        with noted(key, unreadable):
            async for member, stored in members_of(batch, "HSCAN", key):
                theirs = False
                with noted(f"{key} {member}", unreadable):
                    lesson = json.loads(stored)
                    session = json.loads(lesson["query"]).get("session_id")
                    theirs = lesson["query_id"] in ids or person.has(text_in(lesson["owner"]), session)
                if theirs:
                    await batch.call("HDEL", key, member)
                    await batch.call("ZREM", wire.lesson_times_key(shelf), member)
                    count += 1
    return count


async def _answers(batch: Batch, person: Person, ids: set[str], unreadable: list[str]) -> int:
    """Delete the answers that are kept of the person's questions, for whomever they are kept; and kept failures."""
    count = 0
    for pattern, read in ((wire.answer_key("*", "*"), metadata_of), (wire.failure_key("*"), _error_of)):
        async for key in keys_of(batch, pattern):
            theirs = False
            with noted(key, unreadable):
                about = read(await batch.call("GET", key) or "")
                asker = text_in(about.get("asker") or "")
                theirs = person.has(asker, about.get("session_id")) or about.get("query_id") in ids
            if theirs:
                await batch.call("UNLINK", key)
                count += read is metadata_of
    return count


def _error_of(stored: str) -> dict[str, Any]:
    return dict(json.loads(stored.partition("\n")[0])) if stored else {}


async def _bundles(batch: Batch, person: Person, ids: set[str], unreadable: list[str]) -> int:
    from agentic_flywheel.broker.bundles import Bundle

    count = 0
    async for key in keys_of(batch, wire.bundle_key("*")):
        with noted(key, unreadable):
            bundle = read_stored(Bundle, await batch.call("GET", key) or "")
            # Of a session, the whole batch: its list of questions is the person's.
            if person.has(Asker(bundle.owner, bundle.user).name) or ids & set(bundle.query_ids):
                await batch.call("UNLINK", key)
                count += 1
    return count


async def _sessions(batch: Batch, person: Person, names: set[str]) -> int:
    """Delete the person's sessions: those in the index, and those that queries name."""
    for index in await _own(batch, wire.sessions_key, person.asker):
        for name in await batch.call("ZRANGE", index, 0, -1):
            if person.session_id in (None, session_id_of(name)):
                names.add(name)
                await batch.call("ZREM", index, name)
    for some in pages_of(sorted(names)):
        kinds = (wire.session_key, wire.turns_key, wire.line_key, wire.waiting_turns_key)
        await batch.call("UNLINK", *(kind(each) for kind in kinds for each in some))
    return len(names)


async def _own(batch: Batch, family: wire.Family, asker: Asker) -> list[str]:
    """Return the keys of a family that are named by this asker; where that names no user, those of all users too."""
    found = [family(asker.name)]
    if asker.user is None:
        start = family(f"{asker.owner} ")
        found += [key async for key in keys_of(batch, family("*")) if key.startswith(start)]
    return found
