"""Read a query's events. The scripts write them, and what a flow tells while it runs."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.records import moment_of
from agentic_flywheel.broker.stops import stop_told
from agentic_flywheel.broker.stored import passing_over, reading
from agentic_flywheel.models import TOLD_BY_FLOW, Event, EventKind

#: The id of an event: ``own`` or ``own~leader's``, each the id of an entry of a stream.
_EVENT_ID = re.compile(r"([0-9]{1,20}(?:-[0-9]{1,20})?)(?:~([0-9]{1,20}-[0-9]{1,20})?)?")
#: One token among those that were joined at a query's end (``lua/shared/packing.lua``).
_CUT = re.compile(r"(\d+)(?:-(\d+))?:(\d+)(?:@(\d+))?")
#: What is said of another one.
NO_PLACE = "it should be the id of an event of this query"
#: The last id that there can be: nothing is behind it, and Redis refuses to look.
_LAST_ID = 2**64 - 1
#: An entry of a stream: its id, and its fields and values in turn.
_Entry = tuple[str, list[str]]
#: Kinds of events of which this version knows.
_KINDS = frozenset(EventKind)
#: Kinds that whoever is attached to a call reads too.
_OF_LEADER = TOLD_BY_FLOW | {EventKind.RETRYING, EventKind.STARTED}


def is_place(text: Any) -> bool:
    """Whether a text is the id of an event, behind which may be others; or ``-``, before the first one."""
    if text == "-":
        return True
    found = _EVENT_ID.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return False
    pairs = [tuple(map(int, each.split("-"))) for each in found.groups() if each]
    return all(max(pair) <= _LAST_ID and pair != (_LAST_ID, _LAST_ID) for pair in pairs)


async def read_events(batch: Batch, query_id: str, after: str = "-", *, patience: float | None = None) -> list[Event]:
    """Return a query's events that follow the event with the id ``after``; with ``-`` all of them.

    While the query is attached to another query's call, what that flow tells and its retries are included. An event's
    id says how far both streams were read: ``own`` or ``own~leader's``. Kinds that a later version has added are left
    out, and damaged events. Raises RecordUnreadable where there is no stream under the query's key.
    """
    own_after, _, leader_after = after.partition("~")
    theirs = []
    with reading("query", query_id):
        own, leader = await asyncio.gather(
            batch.call("XRANGE", wire.events_key(query_id), _behind(own_after), "+", patience=patience),
            _leader_now(batch, query_id, patience),
        )
        if leader:
            theirs = await batch.call("XRANGE", wire.events_key(leader), _behind(leader_after), "+", patience=patience)
    found, ends = [], []
    for event in _events(query_id, await _with_tokens(batch, query_id, own, own_after), _KINDS):
        if event.kind is EventKind.FINAL:
            ends.append(event)
        else:
            own_after = event.id
            found.append(_at(event, own_after, leader_after))
    for event in _events(query_id, await _with_tokens(batch, leader, theirs, leader_after), _OF_LEADER):
        leader_after = event.id
        if event.voids or event.kind is not EventKind.STARTED:
            found.append(_at(event, own_after, leader_after))
    return [*found, *(_at(event, event.id, leader_after) for event in ends)]


async def _leader_now(batch: Batch, query_id: str, patience: float | None) -> str:
    """Return the query to whose call this one is attached; empty where there is none, or where it is a part's call."""
    name: str | None = await batch.call("HGET", wire.record_key(query_id), "attached_to", patience=patience)
    while name and (heir := await batch.call("GET", wire.heir_key(name), patience=patience)):
        name = heir
    return name if name and "|" not in name and name != query_id else ""


def _events(query_id: str, entries: Iterable[_Entry], kinds: Collection[EventKind]) -> Iterator[Event]:
    """Yield the events of these kinds under their entries' ids; one that cannot be read is logged."""
    for entry_id, flat in entries:
        with passing_over("an event of query", query_id):
            named = dict(zip(flat[::2], flat[1::2], strict=True))
            if named["kind"] in kinds:
                kind, data = EventKind(named["kind"]), json.loads(named["data"])
                if kind is EventKind.INPUT_REQUIRED:
                    data = stop_told(data)
                yield Event(id=entry_id, kind=kind, at=moment_of(entry_id.partition("-")[0]), data=data)


async def _with_tokens(batch: Batch, query_id: str, entries: list[_Entry], after: str) -> list[_Entry]:
    """Return the entries of a query's stream behind ``after``, with the tokens apart that were joined at its end."""
    if all(wire.TOKENS not in flat for _, flat in entries):
        return entries
    answer: str | None = None
    found: list[_Entry] = []
    for entry_id, flat in entries:
        if flat[:2] != ["kind", wire.TOKENS]:
            found.append((entry_id, flat))
            continue
        with passing_over("an event of query", query_id):
            told = json.loads(flat[3])
            if "text" not in told:
                answer = answer or json.loads(await batch.call("GET", wire.result_key(query_id)))["result"]["text"]
                told["text"] = answer
            found += [each for each in _apart(told) if _place(each[0]) > _place(after)]
    return found


def _apart(told: dict[str, Any]) -> Iterator[_Entry]:
    """Yield the tokens that were joined, as they stood in the stream."""
    text, at, milliseconds = told["text"].encode(), 0, 0
    for passed, number, size, place in _CUT.findall(told["cuts"]):
        milliseconds += int(passed)
        data = {"text": text[at : at + int(size)].decode()}
        if place:
            data["part"] = told["parts"][int(place) - 1]
        at += int(size)
        yield f"{milliseconds}-{number or 0}", ["kind", EventKind.TOKEN, "data", json.dumps(data, ensure_ascii=False)]


def _place(entry_id: str) -> tuple[int, int]:
    milliseconds, _, number = entry_id.removeprefix("-").partition("-")
    return int(milliseconds or 0), int(number or 0)


def _behind(entry_id: str) -> str:
    return "-" if entry_id in ("", "-") else f"({entry_id}"


def _at(event: Event, own: str, leaders: str) -> Event:
    """Return an event with the id that says how far both streams were read."""
    return event.model_copy(update={"id": f"{own}~{leaders}"}) if leaders else event
