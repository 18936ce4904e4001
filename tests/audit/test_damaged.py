"""Whatever stands damaged in the broker, each reader tells it in an error of ours, and lists go on without it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

import pytest
from pipeline.house import APPROVAL, FAILING, House

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.bundles import BundleItem, load_bundle, save_bundle
from agentic_flywheel.broker.control import queue_lengths, read_paused
from agentic_flywheel.broker.events import read_events
from agentic_flywheel.broker.forgetting import Person, find
from agentic_flywheel.broker.persistence import cache_statistics, check_cache
from agentic_flywheel.broker.records import (
    attempts_of,
    dead_letters,
    load_outcome,
    load_result,
    read_query_of,
    read_told,
)
from agentic_flywheel.broker.scores import scores_of
from agentic_flywheel.broker.sessions import list_sessions, load_session, recent_turns, session_config
from agentic_flywheel.catalog import Catalog
from agentic_flywheel.errors import (
    FlowError,
    FlywheelError,
    InputRequired,
    RecordUnreadable,
    UnknownQuery,
    WaitTimeout,
)
from agentic_flywheel.figures.health import read_health
from agentic_flywheel.figures.tally import add_up, hour_of, read_hours
from agentic_flywheel.learning.lessons import load_lessons
from agentic_flywheel.registry import load_catalog
from agentic_flywheel.tracing.archive import Wish
from agentic_flywheel.tracing.reading import read_trace, search_traces
from producer import AsyncProducer
from producer.cli.exits import Exit
from producer.cli.failures import exit_of
from producer.replay.own import letters
from producer.replay.wanted import Wanted

#: What stands in the place of a value; and in that of one field, of which there are many.
DAMAGE = ("{", '{"a": 1}', "x\ny", b"\xff\xfe", "9" * 30, "[" * 20_000)
IN_FIELDS = ("{", "9" * 30, b"\xff\xfe")


class Kept(NamedTuple):
    """Names of what was asked before the damage."""

    answered: str
    failed: str
    asking: str
    other: str
    session: str
    bundle: str
    key: str


@pytest.fixture(scope="module")
def damaged_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house of its own: nobody else reads what is damaged here."""
    house = House(tmp_path_factory.mktemp("damaged"))
    try:
        house.worker()
        yield house
    finally:
        house.client.flushdb()
        house.stop()


@pytest.fixture
async def mine(damaged_house: House) -> AsyncIterator[AsyncProducer]:
    async with AsyncProducer(damaged_house.settings) as producer:
        yield producer


async def live(house: House, producer: AsyncProducer) -> Kept:
    """Do everything of which something is kept, then stop the worker."""
    house.build(APPROVAL, style="approval")
    house.behave(FAILING, fault="error_500")
    session = f"s-{uuid.uuid4().hex[:6]}"
    await producer.use_profile(session, None)
    answered = await producer.ask("How do I use a python database?", session_id=session, wait=30)
    await producer.score(answered.query_id, 2, comment="bad")
    other = await producer.ask("And a docker?", wait=30)
    await producer.reroute(other.query_id, "creative-orientation")
    failed = await producer.submit("Why is it broken?", flow="wary", cache="bypass")
    with suppress(FlowError):
        await producer.wait(failed.query_id, 30)
    house.behave("00000000-0000-4000-8000-000000000006", fault="error_500")
    stubborn = await producer.submit("Why is it slow?", flow="stubborn")
    with suppress(FlywheelError):
        await producer.wait(stubborn.query_id, 30)
    with pytest.raises(InputRequired) as asks:
        await producer.ask("Delete it?", flow="approval", wait=30)
    items = [BundleItem(question="?", query_id=answered.query_id)]
    bundle = await save_bundle(producer.batch, uuid.uuid4().hex, producer.asker, items, ttl=timedelta(hours=1))
    house.workers[-1].terminate(within=30)
    return Kept(
        answered.query_id,
        stubborn.query_id,
        asks.value.query_id,
        other.query_id,
        session,
        bundle.batch_id,
        other.cache_key or "",
    )


Reader = Callable[[], Awaitable[Any]]


async def _all(found: AsyncIterator[Any]) -> list[Any]:
    return [each async for each in found]


def readers(producer: AsyncProducer, catalog: Catalog, kept: Kept) -> dict[str, Reader]:
    """Return everything that reads what is stored of one thing, or of all."""
    batch, asker, settings = producer.batch, producer.asker, producer.settings
    hours = range(hour_of(datetime.now(UTC)) - 1, hour_of(datetime.now(UTC)) + 1)

    async def tally() -> Any:
        return add_up((await read_hours(batch, hours)).values())

    found: dict[str, Reader] = {
        "recent": lambda: producer.recent(limit=50),
        "waiting": lambda: producer.waiting(),
        "records": lambda: producer.records([kept.answered, kept.failed, kept.asking]),
        "dead_letters": lambda: dead_letters(batch),
        "letters": lambda: _all(letters(batch, Wanted())),
        "letter": lambda: _all(letters(batch, Wanted(query_ids=frozenset([kept.failed])))),
        "list_sessions": lambda: list_sessions(batch, asker),
        "session": lambda: load_session(batch, kept.session, asker=asker),
        "turns": lambda: recent_turns(batch, kept.session, asker=asker),
        "config": lambda: session_config(batch, kept.session, asker=asker),
        "bundle": lambda: load_bundle(batch, kept.bundle, asker=asker),
        "scores": lambda: scores_of(batch, [kept.answered]),
        "lessons": lambda: load_lessons(batch),
        "cached": lambda: check_cache(batch, kept.key),
        "statistics": lambda: cache_statistics(batch, list(catalog.flows)),
        "health": lambda: read_health(batch, catalog),
        "tally": tally,
        "queues": lambda: queue_lengths(batch, catalog),
        "paused": lambda: read_paused(batch),
        "search": lambda: search_traces(batch, settings, Wish(asker=asker)),
        "find": lambda: find(batch, Person(asker)),
    }
    for name in ("answered", "failed", "asking"):
        found |= {f"{what} {name}": read for what, read in _of_one(producer, getattr(kept, name)).items()}
    return found


def _of_one(producer: AsyncProducer, query_id: str) -> dict[str, Reader]:
    batch = producer.batch
    return {
        "status": lambda: producer.status(query_id),
        "wait": lambda: producer.wait(query_id, 0.05),
        "stream": lambda: anext(producer.stream(query_id), None),
        "outcome": lambda: load_outcome(batch, query_id),
        "result": lambda: load_result(batch, query_id),
        "events": lambda: read_events(batch, query_id),
        "query": lambda: read_query_of(batch, query_id),
        "attempts": lambda: attempts_of(batch, query_id),
        "trace": lambda: read_trace(batch, producer.settings, query_id, asker=producer.asker, within=timedelta()),
    }


def damages(house: House, key: str) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield every damage that can be done to a key, and what does it."""
    client: Any = house.client
    kind = client.type(key)

    def another_type() -> None:
        client.delete(key)
        client.rpush(key, "x") if kind == "string" else client.set(key, "x")

    yield "another type", another_type
    if kind == "string":
        yield from ((repr(each)[:20], partial(client.set, key, each)) for each in DAMAGE)
    elif kind == "hash":
        # Of counters, a few stand for all.
        for number, field in enumerate(sorted(client.hkeys(key))[: None if key.startswith(wire.record_key("")) else 8]):
            each = IN_FIELDS[number % len(IN_FIELDS)]
            yield f"{field} is missing", partial(client.hdel, key, field)
            yield f"{field}: {each!r}"[:60], partial(client.hset, key, field, each)
        yield "a field too many", partial(client.hset, key, "q|f|x", "x")
    elif kind == "list":
        yield from ((repr(each)[:20], partial(client.lset, key, 0, each)) for each in DAMAGE)
    elif kind == "zset":
        yield "a member that is not UTF-8", partial(client.zadd, key, {b"\xff\xfe": 1e15})
    elif kind == "set":
        yield "a member that is not UTF-8", partial(client.sadd, key, b"\xff\xfe")
    elif kind == "stream":
        for fields in (
            {"x": "y"},
            {"kind": "token"},
            {"kind": "token", "data": "{"},
            {"kind": "final", "data": "[]"},
            {b"\xff": "y"},
        ):
            yield str(fields), partial(client.xadd, key, fields)


@pytest.mark.timeout(300)  # some thousand readings
async def test_every_reader_tells_of_every_damage_in_an_error_of_ours(
    damaged_house: House, mine: AsyncProducer
) -> None:
    kept = await live(damaged_house, mine)
    client: Any = damaged_house.client
    found = readers(mine, load_catalog(damaged_house.registry), kept)
    for read in found.values():  # well, each reads, or tells how its query ended
        with suppress(FlowError, InputRequired, WaitTimeout):
            await read()
    wrong, told, names = [], set(), ("answered", "failed", "asking")
    ours = [key for key in client.scan_iter("*") if key.startswith(("flywheel:", "celery-task-meta-"))]
    keys = sorted(key for key in ours if kept.other not in key)  # it is as the one that was answered
    for key in keys:
        if not client.copy(key, "saved", replace=True):  # such as a sign of life that has expired
            continue
        if client.ttl(key) > 0:
            client.expire("saved", 3600)  # on a busy machine a sign of life would expire meanwhile
        for damage, do in damages(damaged_house, key):
            do()
            # What one query's record says is read for that query, and for lists.
            of_query = next((name for name in names if getattr(kept, name) in key), None)
            asked = {name: read for name, read in found.items() if name.split()[-1] in (of_query, name)}
            ended = await asyncio.gather(*(read() for read in asked.values()), return_exceptions=True)
            for name, end in zip(asked, ended, strict=True):
                if isinstance(end, RecordUnreadable):
                    told.add((name, exit_of(end), str(end).isprintable()))
                elif isinstance(end, FlywheelError):
                    end.describe()
                elif isinstance(end, BaseException):
                    wrong.append(f"{key} {damage}: {name}: {end!r}"[:300])
            client.copy("saved", key, replace=True)

    assert wrong == []
    some = {"status answered", "wait answered", "stream answered", "session", "config", "bundle", "letter"}
    assert {name for name, _, _ in told} >= some
    assert {(code, printable) for _, code, printable in told} == {(Exit.UNUSABLE, True)}


@pytest.mark.parametrize("damage", ["no JSON", "another type"])
async def test_a_damaged_record_hides_no_other_one(damaged_house: House, mine: AsyncProducer, damage: str) -> None:
    """Needs no worker: these queries stay where they are put."""
    client: Any = damaged_house.client
    client.flushdb()
    spoilt, well = [(await mine.submit(f"How do I use a python database? {n}")).query_id for n in range(2)]
    key = f"flywheel:query:{spoilt}"
    if damage == "no JSON":
        client.hset(key, "query", "{")
    else:
        client.delete(key)
        client.set(key, "x")

    assert [record.query_id for record in await mine.recent()] == [well]
    with pytest.raises(RecordUnreadable) as told:
        await mine.status(spoilt)
    assert f"query {spoilt}" in told.value.message
    if damage == "another type":
        client.flushdb()  # nothing that the audit would name stays
    else:
        # Whose it is can be read: nobody else is told that it is there, and its owner can end it.
        with pytest.raises(UnknownQuery):
            await mine.acting_for("rival").status(spoilt)
        assert set(await mine.cancel(spoilt)) == {spoilt}


def test_what_was_published_damaged_is_an_error_of_ours() -> None:
    for told in ("", "a\nb\nc\nd", "\n\n5\n{}", "\n\nx\n{}"):
        with pytest.raises(RecordUnreadable):
            read_told("1" * 32, told)
