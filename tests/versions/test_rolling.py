"""Workers and producers of two versions beside each other: nothing is lost while a fleet is rolled, forth or back."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from pipeline.house import FRAGILE, House
from processes import Process, wait_for

from agentic_flywheel.broker import parcels, wire
from agentic_flywheel.broker.audit import Audited, audit
from agentic_flywheel.broker.control import pause, resume
from agentic_flywheel.broker.events import read_events
from agentic_flywheel.broker.messages import classify_parcel
from agentic_flywheel.broker.records import dead_letters
from agentic_flywheel.broker.transitions import Transitions
from agentic_flywheel.errors import VersionNotServed
from agentic_flywheel.ids import new_query_id
from agentic_flywheel.models import Query, State
from agentic_flywheel.registry import load_catalog
from producer import AsyncProducer
from versions.later import VERSION, environment

#: Seconds within which everything has ended once somebody can serve it.
SOON = 60.0


def asking(house: House, code: dict[str, str], *options: str) -> Process:
    """Start a program that asks questions, of the version whose environment ``code`` is."""
    number = len(list(house.folder.glob("asking-*.log")))
    env = {"REDIS_URL": house.broker.url, "FLYWHEEL_REGISTRY": str(house.registry), **code}
    command = [sys.executable, "-m", "versions.asking", *options]
    return Process(command, log=house.folder / f"asking-{number}.log", env=env)


def asked(*programs: Process) -> list[str]:
    """Return the ids of all that these programs, which have ended, were told was accepted."""
    for program in programs:
        assert program.wait(within=30) == 0, program.log[-2000:]
        assert "not accepted" not in program.log
    return [query_id for program in programs for query_id, _ in map(str.split, program.log.splitlines())]


def states(house: House, query_ids: list[str]) -> dict[str, str]:
    with house.client.pipeline(transaction=False) as pipe:
        for query_id in query_ids:
            pipe.hget(wire.record_key(query_id), "state")
        return dict(zip(query_ids, map(str, pipe.execute()), strict=True))


def all_answered_once(house: House, query_ids: list[str]) -> None:
    def ended() -> bool:
        return set(states(house, query_ids).values()).isdisjoint({"pending", "queued", "running", "waiting"})

    wait_for(ended, within=SOON, every=0.2, what="every query ends")
    wrong = {each: state for each, state in states(house, query_ids).items() if state != "succeeded"}
    errors = [house.client.hget(wire.record_key(each), "error") for each in wrong]
    assert not wrong, f"{len(wrong)} of {len(query_ids)} have no answer: {errors[:3]}"
    for query_id in query_ids:
        events: Any = house.client.xrange(wire.events_key(query_id))
        at_once = house.client.hexists(wire.record_key(query_id), "cache_key")
        assert [fields["kind"] for _, fields in events].count("final") == (0 if at_once else 1), query_id


async def audited(house: House) -> Audited:
    return await audit(house.settings, pause=timedelta(milliseconds=300))


async def drained(house: House, version: int) -> None:
    """Wait as an operator does before the last workers of a version go: until no query of it is open."""
    until = time.monotonic() + SOON
    while (open_now := (await audited(house)).versions).get(version, 0):
        assert time.monotonic() < until, open_now
        await asyncio.sleep(0.3)


async def start(house: House, code: dict[str, str]) -> Process:
    return await asyncio.to_thread(partial(house.worker, **code))  # type: ignore[arg-type]


async def stop(*workers: Process) -> None:
    for worker in workers:
        await asyncio.to_thread(worker.terminate, within=30)


async def test_a_fleet_is_rolled_to_the_next_version_and_back_and_loses_nothing(house: House, later: Path) -> None:
    now: dict[str, str] = {}
    then = environment(later)
    before = asking(house, now, "--number", "40", "--every", "0.005")
    queued = asked(before)

    # Forth: the workers, then the producers. Each old worker hands back what a new producer asks meanwhile.
    old = [await start(house, now), await start(house, now)]
    of_now = asking(house, now)
    await asyncio.sleep(2)
    new = [await start(house, then)]
    early = asking(house, then, "--tone", "kind", "--number", "30", "--every", "0.02")
    await stop(old[0])
    new.append(await start(house, then))
    await stop(old[1])
    await asyncio.sleep(2)
    of_then = asking(house, then, "--tone", "kind")
    of_now.send(signal.SIGTERM)
    await asyncio.sleep(3)

    # Back: the producers, then, when nothing of the next version is open, the workers.
    of_then.send(signal.SIGTERM)
    again = asking(house, now)
    old = [await start(house, now)]
    assert asked(of_then)
    await drained(house, VERSION)
    await stop(new[0])
    old.append(await start(house, now))
    await stop(new[1])
    await asyncio.sleep(2)
    again.send(signal.SIGTERM)

    everything = [*queued, *asked(of_now, early, of_then, again)]
    all_answered_once(house, everything)
    assert (await audited(house)).offenders == ()
    versions = {house.client.hget(wire.record_key(each), "v") for each in everything}
    assert versions == {str(wire.VERSION), str(VERSION)}
    assert any(house.client.hget(wire.record_key(each), "napped") for each in everything)


async def test_what_a_later_producer_asks_waits_for_a_later_worker(
    house: House, later: Path, producer: AsyncProducer
) -> None:
    await start(house, {})
    program = asking(house, environment(later), "--tone", "kind", "--number", "20", "--every", "0.01")
    query_ids = await asyncio.to_thread(asked, program)
    own = (await producer.submit("How do I connect python to my database?")).query_id
    assert (await producer.wait(own, 30)).text

    await asyncio.sleep(3)
    some = [await producer.status(each) for each in query_ids]
    assert {each.state for each in some} <= {State.WAITING}
    assert {each.reason for each in some} <= {"version", "session", "attached"}
    assert any(each.reason == "version" for each in some)
    found = await audited(house)
    assert (found.offenders, found.versions) == ((), {VERSION: 20})

    await start(house, environment(later))
    await asyncio.to_thread(all_answered_once, house, query_ids)
    # What the next version has written is read by this one, as far as it knows of it.
    answer = await producer.wait(query_ids[0], 30)
    assert answer.text
    assert (await producer.status(query_ids[0])).query.question
    kinds = [event.kind for event in await read_events(producer.batch, query_ids[0])]
    assert kinds[-1] == "final"


async def test_what_an_earlier_producer_asks_is_answered_by_later_workers_alone(house: House, later: Path) -> None:
    await start(house, environment(later))
    query_ids = await asyncio.to_thread(asked, asking(house, {}, "--number", "30", "--every", "0.01"))

    await asyncio.to_thread(all_answered_once, house, query_ids)
    assert {house.client.hget(wire.record_key(each), "v") for each in query_ids} == {str(wire.VERSION)}
    assert not any(house.client.hget(wire.record_key(each), "napped") for each in query_ids)


async def test_messages_of_a_query_keep_its_version_whoever_writes_them(
    house: House, later: Path, producer: AsyncProducer
) -> None:
    await start(house, environment(later))
    for flow in ("narrow", "backup", "document-qa"):
        await pause(producer.batch, flow=flow)
    house.behave(FRAGILE, latency=0.1, fault="gateway_502")
    parked = (await producer.submit("Why?", flow="narrow")).query_id
    fallen_back = (await producer.submit("Why not?", flow="fragile")).query_id
    question = "Which database index does this join need? Which clause of the contract covers liability?"
    fanned_out = (await producer.submit(question)).query_id
    linked = Celery(broker=house.broker.url, backend=house.broker.url, set_as_current=False)
    plain = linked.send_task("flywheel.classify", [{"question": "Why then?", "flow": "narrow"}], queue="classify").id

    def written() -> list[int]:
        with house.client.pipeline(transaction=False) as pipe:
            for flow in ("narrow", "backup", "document-qa"):
                pipe.zrange(wire.parked_key(flow), 0, -1)
            found = [entry.split("\n", 3) for entries in pipe.execute() for entry in entries]
        synthesis = house.client.hget(wire.record_key(fanned_out), "synthesis")
        found += [["", *str(synthesis).split("\n", 2)]] if synthesis else []
        expected = {parked, fallen_back, f"{fanned_out}|document-qa", plain, ""}
        if {name for name, *_ in found} != expected:
            return []
        return [json.loads(message)["headers"]["v"] for name, _, _, message in found if name != plain]

    assert await asyncio.to_thread(wait_for, written, within=30) == [wire.VERSION] * 4
    # A plain client's query is of the version of the worker that has recorded it.
    assert house.client.hget(wire.record_key(plain), "v") == str(VERSION)
    for flow in ("narrow", "backup", "document-qa"):
        await resume(producer.batch, flow=flow)
    await asyncio.to_thread(all_answered_once, house, [parked, fallen_back, fanned_out, plain])
    linked.close()


@pytest.mark.parametrize("more", [{}, {"tone": "kind"}], ids=["that it understands", "that it does not understand"])
async def test_a_plain_message_of_a_query_that_a_later_worker_has_recorded_is_left_to_later_workers(
    house: House, later: Path, producer: AsyncProducer, more: dict[str, str]
) -> None:
    query_id, query = new_query_id(), Query(question="How do I connect python to my database?")
    await Transitions(producer.batch, house.settings).adopt(
        query_id, query, classify_parcel(query_id, query, query.written())
    )
    house.client.hset(wire.record_key(query_id), "v", VERSION)
    # Its first worker has died after that, so the message comes to the next one.
    await start(house, {})
    with Celery(broker=house.broker.url, set_as_current=False) as client:
        client.send_task(
            "flywheel.classify", [{"question": query.question, **more}], queue="classify", task_id=query_id
        )
    reason: Any = lambda: house.client.hget(wire.record_key(query_id), "reason") == "version"  # noqa: E731
    await asyncio.to_thread(wait_for, reason, what="it waits for a later worker")
    await start(house, environment(later))

    await asyncio.to_thread(all_answered_once, house, [query_id])


@pytest.mark.provokes("is set aside: nobody of that version lives")
async def test_a_query_of_a_version_that_nobody_has_ends_as_a_dead_letter(
    house: House, later: Path, producer: AsyncProducer
) -> None:
    await start(house, {"FLYWHEEL_UNSERVED_TIMEOUT": "2s"})
    program = asking(house, environment(later), "--tone", "kind", "--number", "1")
    (query_id,) = await asyncio.to_thread(asked, program)

    with pytest.raises(VersionNotServed, match="version 2, and for 2 s no worker lived"):
        await producer.wait(query_id, 30)
    (letter,) = await dead_letters(producer.batch)
    assert (letter.query_id, letter.error.error_type) == (query_id, "VersionNotServed")
    # What this version knows of the query can be asked again.
    assert letter.query.question
    assert house.client.llen(wire.UNREADABLE) == 1


async def test_a_lost_query_of_a_later_version_is_left_to_its_workers(
    house: House, later: Path, producer: AsyncProducer
) -> None:
    # Nothing is judged within twice this time after a start of the broker.
    old = await start(house, {"FLYWHEEL_VISIBILITY_TIMEOUT": "2s"})
    program = asking(house, environment(later), "--tone", "kind", "--number", "1")
    (query_id,) = await asyncio.to_thread(asked, program)
    await asyncio.to_thread(wait_for, lambda: house.client.zcard("flywheel:delayed:classify"), what="it is handed back")
    house.client.delete("flywheel:delayed:classify")
    until = time.monotonic() + 8
    while time.monotonic() < until:
        _look_now(house, query_id)
        await asyncio.sleep(0.2)

    record: Any = house.client.hgetall(wire.record_key(query_id))
    assert record["state"] == "waiting"
    assert "suspect|" in record
    assert "rebuilt|" not in record
    found = await audit(house.settings, mend=load_catalog(house.registry))
    assert [(each.id, each.waits_for) for each in found.left] == [(query_id, "a worker of version 2")]

    await start(house, environment(later))
    await stop(old)
    _look_now(house, query_id)
    await asyncio.to_thread(wait_for, lambda: states(house, [query_id])[query_id] == "succeeded", within=SOON)


@pytest.mark.provokes("nobody of that version lives")
async def test_a_lost_query_of_a_version_that_nobody_has_ends(
    house: House, later: Path, producer: AsyncProducer
) -> None:
    program = asking(house, environment(later), "--tone", "kind", "--number", "1")
    (query_id,) = await asyncio.to_thread(asked, program)
    house.client.delete("classify")
    await start(house, {"FLYWHEEL_UNSERVED_TIMEOUT": "2s", "FLYWHEEL_VISIBILITY_TIMEOUT": "2s"})

    async def look() -> None:
        while True:
            _look_now(house, query_id)
            await asyncio.sleep(0.2)

    looking = asyncio.create_task(look())
    with pytest.raises(VersionNotServed):
        await producer.wait(query_id, 40)
    looking.cancel()


@pytest.mark.provokes("is set aside")
async def test_a_message_that_is_said_to_be_of_a_later_version_ends_no_worker(
    house: House, producer: AsyncProducer
) -> None:
    worker = await start(house, {})
    for version in (2, 10**30, -1, "2", True, None, [2]):
        parcel = parcels.task_parcel("flywheel.unheard_of", "q", "q", "[]", queue="classify", version=1)
        message = json.loads(parcel.message)
        message["headers"]["v"] = version
        house.client.lpush("classify", json.dumps(message))

    assert (await producer.ask("How do I connect python to my database?", wait=30)).text
    assert worker.alive
    await asyncio.to_thread(wait_for, lambda: house.client.llen(wire.UNREADABLE) == 7, what="all are set aside")


def _look_now(house: House, query_id: str) -> None:
    """Have the workers look at a query at once, although they have just started or looked."""
    if house.client.hget(wire.record_key(query_id), "state") in ("pending", "waiting"):
        house.client.zadd(wire.OPEN, {query_id: 0})
        if house.client.zscore(wire.SUSPECTS, query_id) is not None:
            house.client.zadd(wire.SUSPECTS, {query_id: 0})
