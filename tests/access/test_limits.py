"""One owner asks as much as the limits allow, and nobody else hears of it."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import TimeoutError as CeleryTimeoutError
from pipeline.house import PROSE, TECHNICAL, House

from agentic_flywheel.access.limits import OwnerLimits, OwnLimits, limits_for
from agentic_flywheel.broker import wire
from agentic_flywheel.broker.audit import audit
from agentic_flywheel.broker.control import pause, resume
from agentic_flywheel.broker.records import dead_letters
from agentic_flywheel.errors import FlywheelError, InvalidSetting, OwnerLimitReached
from agentic_flywheel.figures.health import FlowHealth, read_health
from agentic_flywheel.figures.metrics import SteadyCounts
from agentic_flywheel.figures.usage import read_usage
from agentic_flywheel.registry import load_catalog
from agentic_flywheel.settings import Settings, load_settings
from producer import AsyncProducer, Submission


def fresh(question: str = "How do I use a python database?") -> str:
    return f"{question} {uuid.uuid4().hex}"


def limited(alice: AsyncProducer, **limits: int) -> AsyncProducer:
    return alice.acting_for("alice", limits=OwnLimits(**limits))


def counted(house: House, owner: str = "alice") -> tuple[int, int]:
    """Return how many queries and bytes are counted as under way."""
    client: Any = house.client
    return client.hlen(wire.underway_key(owner)), int(client.get(wire.underway_bytes_key(owner)) or 0)


async def refused(producer: AsyncProducer, **fields: Any) -> OwnerLimitReached:
    with pytest.raises(OwnerLimitReached) as caught:
        await producer.submit(fresh(), **fields)
    return caught.value


def test_every_owner_but_local_has_the_limits_of_the_settings_and_a_token_its_own() -> None:
    settings = Settings(queue_limit=400, owner_calls_a_day=7)

    assert limits_for("alice", settings) == OwnerLimits(0, 100, 64 * 2**20, 7)
    assert limits_for("alice", settings, OwnLimits(under_way=5, calls_a_day=0)) == OwnerLimits(0, 5, 64 * 2**20, 0)
    assert limits_for("local", settings) == OwnerLimits()
    assert limits_for("local", settings.model_copy(update={"owner_limits_local": True})).under_way == 100


def test_a_limit_of_bytes_that_one_query_may_exceed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_OWNER_BYTES_UNDER_WAY", "1000")

    with pytest.raises(InvalidSetting, match="OWNER_BYTES_UNDER_WAY"):
        load_settings()


async def test_a_minutes_queries_are_counted_whatever_answers_them(alice: AsyncProducer, house: House) -> None:
    three = limited(alice, queries_a_minute=3)
    question = fresh("Write a poem about the sea")
    first = await three.ask(question, wait=30)
    again = await three.submit(question)
    await three.submit(fresh())
    told = await refused(three)

    assert again.answer is not None, first
    assert (told.limit, told.most, told.value) == ("queries_a_minute", 3, 3)
    assert 0 < told.retry_after <= 60
    assert "alice is at the limit queries_a_minute: 3" in told.message
    # Another process counts on from there; another owner has minutes of its own.
    async with AsyncProducer(house.settings, owner="alice") as elsewhere:
        assert (await refused(limited(elsewhere, queries_a_minute=3))).value == 3
    await alice.acting_for("bob", limits=OwnLimits(queries_a_minute=3)).submit(fresh())


async def test_what_is_under_way_is_counted_and_what_has_ended_is_not(alice: AsyncProducer, house: House) -> None:
    two = limited(alice, under_way=2)
    await pause(alice.batch, domain="backup")
    try:
        accepted = [await two.submit(fresh(), domain="backup") for _ in range(2)]
        told = await refused(two, domain="backup")
        assert (told.limit, told.most, told.value) == ("under_way", 2, 2)
        assert 1 <= told.retry_after <= 30
        await two.cancel(accepted[0].query_id)
        accepted.append(await two.submit(fresh(), domain="backup"))
    finally:
        await resume(alice.batch, domain="backup")
    for each in accepted[1:]:
        await two.wait(each.query_id, 30)

    assert counted(house) == (0, 0)


async def test_a_refusal_says_what_is_true_of_its_limit(alice: AsyncProducer, house: House) -> None:
    for key in house.client.scan_iter("flywheel:drained:*"):
        house.client.delete(key)
    two = limited(alice, under_way=2)
    await pause(alice.batch, domain="backup")
    try:
        accepted = [await two.submit(fresh(), domain="backup") for _ in range(2)]
        at_once = await refused(two, domain="backup")
        # Nothing tells the pace: the longer they are under way, the longer it is taken to last.
        for each in accepted:
            house.client.hincrby(wire.record_key(each.query_id), "created", -12_000)
        later = await refused(two, domain="backup")
    finally:
        await two.cancel(everything=True)
        await resume(alice.batch, domain="backup")

    assert at_once.retry_after < 3
    assert 12 <= later.retry_after < 15
    assert "ended or was cancelled" in later.recovery_suggestions[0]
    for limit, told in {"calls_a_day": "midnight", "queries_a_minute": "room for one"}.items():
        said = OwnerLimitReached("alice", limit, 1, 1, 60.0).recovery_suggestions
        assert told in said[0]
        assert len(said) >= 3
        assert "flowise_batch" not in " ".join(said)


async def test_bytes_under_way_are_those_of_the_queries(alice: AsyncProducer, house: House) -> None:
    few = limited(alice, bytes_under_way=262_144)
    await pause(alice.batch, domain="backup")
    try:
        large = [await few.submit(fresh("x" * 30_000), domain="backup") for _ in range(8)]
        told = await refused(few, domain="backup", metadata={"notes": "y" * 30_000})
        assert (told.limit, told.most) == ("bytes_under_way", 262_144)
        assert 240_000 < told.value == counted(house)[1]
        await few.submit(fresh(), domain="backup")
    finally:
        await resume(alice.batch, domain="backup")
        await few.cancel(everything=True)

    assert counted(house) == (0, 0)
    assert len(large) == 8


async def test_an_identical_query_is_under_way_and_makes_no_call(alice: AsyncProducer, house: House) -> None:
    house.behave(TECHNICAL, latency=1)
    one_call = limited(alice, under_way=2, calls_a_day=1)
    question = fresh()
    leader = await one_call.submit(question)
    follower = await one_call.submit(question)
    assert follower.attached_to == leader.query_id
    assert (await refused(one_call)).limit == "under_way"
    for each in (leader, follower):
        assert (await one_call.wait(each.query_id, 30)).text

    # The day's one call is used up; what is kept is served all the same.
    assert (await one_call.ask(question, wait=30)).cached
    with pytest.raises(OwnerLimitReached) as spent:
        await one_call.ask(fresh(), wait=30)
    assert (spent.value.limit, spent.value.most, spent.value.value) == ("calls_a_day", 1, 1)
    assert 0 < spent.value.retry_after <= 86_400


async def test_a_refusal_counts_for_the_owner_and_not_as_a_failure_of_the_flow(
    alice: AsyncProducer, house: House
) -> None:
    async def flow() -> FlowHealth:
        health = await read_health(alice.batch, alice.catalog)
        return next(each for each in health.flows if each.flow == "backup")

    client: Any = house.client
    before, failures = await flow(), client.hget(wire.stats_key("backup"), "failures")
    dora = alice.acting_for("dora", limits=OwnLimits(calls_a_day=1))
    await dora.ask(fresh(), flow="backup", wait=30)
    for _ in range(3):
        with pytest.raises(OwnerLimitReached):
            await dora.ask(fresh(), flow="backup", wait=30)

    after = await flow()
    counts = (await SteadyCounts().read(alice.batch, now=datetime.now(UTC))).flows["backup"]
    assert (after.queries - before.queries, after.failed - before.failed) == (1, 0)
    assert after.refused - before.refused == counts.queries("refused") == 3
    assert after.errors == before.errors
    assert "OwnerLimitReached" not in counts.errors
    assert client.hget(wire.stats_key("backup"), "failures") == failures
    users = {row.name: row.queries for row in (await read_usage(alice.batch, alice.catalog, by="user")).rows}
    assert users["dora"] == 4
    assert "dora" not in {letter.query.owner for letter in await dead_letters(alice.batch)}


async def test_whoever_waits_for_a_call_that_its_owner_may_not_make_makes_it(
    alice: AsyncProducer, house: House
) -> None:
    house.behave(PROSE, latency=2, fault="provider_500", fault_first=1)
    spent = alice.acting_for("carol", limits=OwnLimits(calls_a_day=1))
    question = fresh("A question that many have")
    leader = await spent.submit(question, flow="prose")
    while (await spent.status(leader.query_id)).state != "running":
        await asyncio.sleep(0.01)
    follower = await alice.submit(question, flow="prose")

    with pytest.raises(OwnerLimitReached):
        await spent.wait(leader.query_id, 30)
    assert (await alice.wait(follower.query_id, 30)).attempts == 1


async def test_a_plain_celery_clients_owner_has_the_same_limits(house: House) -> None:
    with Celery(broker=house.broker.url, backend=house.broker.url, set_as_current=False) as client:
        sent = [
            client.send_task(wire.CLASSIFY, [{"question": fresh(), "owner": "plain"}], queue="classify")
            for _ in range(4)
        ]
        ends = []
        for each in sent:
            try:
                ends.append(type(await asyncio.to_thread(each.get, timeout=30, propagate=False)).__name__)
            except CeleryTimeoutError:
                ends.append("no answer")

    assert ends.count("dict") == 3, ends
    assert ends.count("OwnerLimitReached") == 1, ends
    assert counted(house, "plain") == (0, 0)


async def test_one_owners_batches_leave_room_for_everybody_else(house: House) -> None:
    """27 batch calls of one owner filled a limit of 5,000, and everybody else was refused."""
    settings = house.settings.model_copy(update={"queue_limit": 5_000})
    async with AsyncProducer(settings, owner="greedy") as greedy:
        await pause(greedy.batch, domain="backup")
        done: list[Submission | FlywheelError] = []
        batches = [greedy.submit_many([fresh() for _ in range(200)], domain="backup", timeout=600) for _ in range(27)]
        try:
            waiting = [asyncio.ensure_future(each) for each in batches]
            await asyncio.sleep(3)
            assert (await refused(greedy, domain="backup")).most == 1_250
            other = greedy.acting_for("modest")
            assert (await other.ask(fresh("Write a poem about the sea"), wait=30)).text
            accepted = [await other.submit(fresh(), domain="backup") for _ in range(20)]
            # Who waits politely is taken once there is room.
            await greedy.cancel(everything=True)
            for each in await asyncio.gather(*waiting):
                done += each
        finally:
            await greedy.cancel(everything=True)
            await other.cancel(everything=True)
            await resume(greedy.batch, domain="backup")

    taken = [each for each in done if isinstance(each, Submission)]
    assert len(accepted) == 20
    assert len(done) == 5_400
    assert 1_250 < len(taken) <= 2_500
    assert {type(each) for each in done if each not in taken} == {OwnerLimitReached}
    assert counted(house, "greedy") == counted(house, "modest") == (0, 0)


async def test_what_is_counted_wrongly_is_named_and_righted(alice: AsyncProducer, house: House) -> None:
    await pause(alice.batch, domain="backup")
    kept = await alice.submit(fresh(), domain="backup")
    client: Any = house.client
    client.hdel(wire.underway_key("alice"), kept.query_id)
    client.hset(wire.underway_key("alice"), "gone", 17)
    client.hset(wire.underway_key("nobody"), "gone", 3)
    found = await audit(house.settings, mend=load_catalog(house.registry))

    assert {(each.kind, each.id) for each in found.offenders} == {
        ("owner", f"alice {kept.query_id}"),
        ("owner", "alice gone"),
        ("owner", "alice "),
        ("owner", "nobody gone"),
        ("owner", "nobody "),
    }
    assert found.left == ()
    assert counted(house)[1] > 50
    await resume(alice.batch, domain="backup")
    await alice.wait(kept.query_id, 30)
    assert counted(house) == counted(house, "nobody") == (0, 0)
    assert (await audit(house.settings)).offenders == ()
