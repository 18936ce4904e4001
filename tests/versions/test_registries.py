"""Workers of different registries beside each other: what one of them does not know, it leaves to those that do."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from pipeline.house import NARROW, REGISTRY, House
from processes import Process, wait_for

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.audit import audit
from agentic_flywheel.broker.control import pause, resume
from agentic_flywheel.broker.records import dead_letters
from agentic_flywheel.errors import FlowNotServed, ProfileNotServed
from agentic_flywheel.models import State
from producer import AsyncProducer

#: A flow that asks the narrow flow's chatflow, in a domain that other registries know too.
NOVEL = f"""
  novel:
    id: {NARROW}
    domain: technical
    intent_keywords: [novelty]
"""
#: The same in a domain of its own.
APART = NOVEL.replace("domain: technical", "domain: apart")


async def start(house: House, registry: Path | None = None, **env: str) -> Process:
    named = {} if registry is None else {"FLYWHEEL_REGISTRY": str(registry)}
    return await asyncio.to_thread(partial(house.worker, **named, **env))  # type: ignore[arg-type]


def newer_registry(house: House, added: str = NOVEL) -> Path:
    path = house.folder / "newer.yaml"
    path.write_text(REGISTRY + added)
    return path


def newer_profiles(
    house: House, text: str = "description: What we sell.\ntechnical: Python.\n", name: str = "shop"
) -> Path:
    folder = house.folder / "newer-domains"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.yaml").write_text(text)
    return folder


def having(house: House, profiles: Path, registry: Path | None = None) -> AsyncProducer:
    given = {"profiles": profiles, **({} if registry is None else {"registry": registry})}
    return AsyncProducer(house.settings.model_copy(update=given))


def knowing(house: House, registry: Path) -> AsyncProducer:
    return AsyncProducer(house.settings.model_copy(update={"registry": registry}))


def asked() -> str:
    return f"What is the case {uuid.uuid4().hex[:8]}?"


async def waits(producer: AsyncProducer, query_id: str, reason: str) -> None:
    for _ in range(3000):
        record = await producer.status(query_id)
        if (record.state, record.reason) == (State.WAITING, reason):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{query_id} is {record.state} {record.reason}")


@pytest.mark.parametrize("added", [NOVEL, APART], ids=["in a known domain", "in a new domain"])
@pytest.mark.parametrize("wish", [{"flow": "novel"}, {"domain": "apart"}, {"intent": "novelty"}])
async def test_a_flow_that_a_worker_does_not_know_waits_for_one_that_does(
    house: House, producer: AsyncProducer, added: str, wish: dict[str, str]
) -> None:
    if wish == {"domain": "apart"} and added == NOVEL:
        pytest.skip("there is no such domain in that registry")
    registry = newer_registry(house, added)
    await start(house)
    async with knowing(house, registry) as asks:
        query_id = (await asks.submit(asked(), **wish)).query_id  # type: ignore[arg-type]
    await waits(producer, query_id, "registry")
    found = await audit(house.settings, pause=timedelta(milliseconds=200))
    assert (found.open, found.offenders) == (1, ())
    await start(house, registry)

    answer = await producer.wait(query_id, 30)
    assert (answer.flow, answer.attempts) == ("novel", 1)


async def test_a_routed_query_goes_from_worker_to_worker_until_one_knows_its_flow(
    house: House, producer: AsyncProducer
) -> None:
    registry = newer_registry(house)
    await start(house)
    await start(house, registry)
    async with knowing(house, registry) as asks:
        query_ids = [(await asks.submit(asked(), flow="novel")).query_id for _ in range(40)]

    answers = [await producer.wait(each, 40) for each in query_ids]
    assert {(answer.flow, answer.attempts) for answer in answers} == {("novel", 1)}
    # Both workers have had some of them.
    assert "waits for a worker with flow novel" in house.workers[0].log


async def test_a_worker_that_reads_the_new_registry_goes_on_with_what_waits(
    house: House, producer: AsyncProducer
) -> None:
    await start(house)
    async with knowing(house, newer_registry(house)) as asks:
        query_id = (await asks.submit(asked(), flow="novel")).query_id
    await waits(producer, query_id, "registry")
    house.change_registry(REGISTRY + NOVEL)

    assert (await producer.wait(query_id, 30)).flow == "novel"


async def test_a_part_waits_for_a_worker_that_knows_its_flow(house: House, producer: AsyncProducer) -> None:
    without = house.folder / "older.yaml"
    without.write_text(_without("document-qa"))
    await start(house)
    question = "Which database index does the join of case {} need? Which clause of the contract covers liability?"
    house.client.sadd("flywheel:paused", "flow:document-qa")
    query_id = (await producer.submit(question.format(uuid.uuid4().hex[:8]))).query_id
    await asyncio.to_thread(wait_for, lambda: house.client.exists("flywheel:parked:document-qa"), what="parked")
    await asyncio.to_thread(house.workers[0].terminate, within=30)
    await start(house, without)
    await resume(producer.batch, flow="document-qa")
    field = "offered|document-qa"
    key = wire.record_key(query_id)
    await asyncio.to_thread(wait_for, lambda: house.client.hexists(key, field), within=30, what="its part waits")
    await start(house)

    answer = await producer.wait(query_id, 40)
    assert {part.flow for part in answer.parts} == {"technical-analysis", "document-qa"}
    assert not [part.error for part in answer.parts if part.error]


async def test_a_plain_clients_query_waits_as_any_other(house: House, producer: AsyncProducer) -> None:
    await start(house)
    with Celery(broker=house.broker.url, backend=house.broker.url, set_as_current=False) as client:
        query = {"question": asked(), "flow": "novel", "session_id": "s-1", "deadline": "2100-01-01T00:00:00Z"}
        sent = client.send_task("flywheel.classify", [query], queue="classify", priority=9)
        await asyncio.to_thread(wait_for, lambda: house.client.exists(wire.record_key(sent.id)), what="its record")
        await waits(producer, sent.id, "registry")
        await start(house, newer_registry(house))

        result = await asyncio.to_thread(sent.get, timeout=30)
    assert result["flow"] == "novel"
    assert len(await producer.history("s-1")) == 1


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"flow": "novel"}, "For 1 s no living worker's registry had the flow 'novel'"),
        ({"domain": "apart"}, "For 1 s no living worker's registry had the domain 'apart'"),
        ({"intent": "novelty"}, "For 1 s no living worker's registry had the intent 'novelty'"),
    ],
)
async def test_what_nobody_knows_for_a_while_ends_as_a_dead_letter_that_says_what_to_do(
    house: House, producer: AsyncProducer, wish: dict[str, str], said: str
) -> None:
    await start(house, FLYWHEEL_UNSERVED_TIMEOUT="1s")
    async with knowing(house, newer_registry(house, APART)) as asks:
        query_id = (await asks.submit(asked(), **wish)).query_id  # type: ignore[arg-type]

    with pytest.raises(FlowNotServed) as failed:
        await producer.wait(query_id, 30)
    assert failed.value.message == said
    (letter,) = await dead_letters(producer.batch)
    assert (letter.query_id, letter.error.error_type, letter.error.error) == (query_id, "FlowNotServed", said)
    assert any("registry of the workers" in each for each in letter.error.recovery_suggestions)
    assert not house.client.exists("flywheel:delayed:classify")


@pytest.mark.parametrize(
    "older", [None, "description: x\ntechnical: y\nprivacy: none\n", "description: x\ntechnical: y\nowners: [alice]\n"]
)
async def test_a_profile_that_a_worker_lacks_waits_for_one_that_has_it(
    house: House, producer: AsyncProducer, older: str | None
) -> None:
    """It has no file, one that is refused, or one of before the owner was named in it."""
    profiles = newer_profiles(house)
    if older is not None:
        house.profiles.mkdir()
        (house.profiles / "shop.yaml").write_text(older)
    await start(house)
    async with having(house, profiles) as asks:
        query_id = (await asks.submit(asked(), flow="narrow", profile="shop")).query_id
    await waits(producer, query_id, "registry")
    await start(house, FLYWHEEL_PROFILES=str(profiles))

    answer = await producer.wait(query_id, 30)
    assert (answer.flow, answer.attempts, answer.profile) == ("narrow", 1, "shop")


async def test_profiles_are_taken_from_whoever_has_them_at_every_step(house: House, producer: AsyncProducer) -> None:
    profiles = newer_profiles(house)
    await start(house)
    await start(house, FLYWHEEL_PROFILES=str(profiles))
    async with having(house, profiles) as asks:
        query_ids = [(await asks.submit(asked(), flow="prose", profile="shop")).query_id for _ in range(40)]

    answers = [await producer.wait(each, 40) for each in query_ids]
    assert {(answer.flow, answer.attempts, answer.profile) for answer in answers} == {("prose", 1, "shop")}
    # Both workers have had some of them.
    assert "waits for a worker with profile shop" in house.workers[0].log


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "There is no profile 'shop' for you; known: none"),
        ("description: x\ntechnical: y\nprivacy: none\n", "The profile is not acceptable: "),
        ("description: x\ntechnical: y\nowners: [alice]\n", "There is no profile 'shop' for you; known: none"),
    ],
)
async def test_a_profile_that_nobody_has_for_a_while_ends_as_a_dead_letter(
    house: House, producer: AsyncProducer, text: str, said: str
) -> None:
    if text:
        house.profiles.mkdir()
        (house.profiles / "shop.yaml").write_text(text)
    await start(house, FLYWHEEL_UNSERVED_TIMEOUT="1s")
    async with having(house, newer_profiles(house)) as asks:
        query_id = (await asks.submit(asked(), flow="narrow", profile="shop")).query_id

    with pytest.raises(ProfileNotServed) as failed:
        await producer.wait(query_id, 30)
    assert failed.value.message.startswith(f"For 1 s no living worker could use the profile 'shop': {said}")
    (letter,) = await dead_letters(producer.batch)
    assert (letter.query_id, letter.error.error_type) == (query_id, "ProfileNotServed")
    assert any("profiles folder of every worker" in each for each in letter.error.recovery_suggestions)


async def test_a_profile_and_a_flow_that_no_worker_has_together_are_had_by_nobody(
    house: House, producer: AsyncProducer
) -> None:
    """One worker has the flow, another one the profile: between them the query must not go for ever."""
    profiles, registry = newer_profiles(house), newer_registry(house)
    await start(house, registry, FLYWHEEL_UNSERVED_TIMEOUT="2s")
    await start(house, FLYWHEEL_PROFILES=str(profiles), FLYWHEEL_UNSERVED_TIMEOUT="2s")
    async with having(house, profiles, registry) as asks:
        query_id = (await asks.submit(asked(), flow="novel", profile="shop")).query_id

    with pytest.raises((ProfileNotServed, FlowNotServed)):
        await producer.wait(query_id, 30)


async def test_a_flow_that_was_removed_ends_what_waits_for_it(house: House, producer: AsyncProducer) -> None:
    await start(house, FLYWHEEL_UNSERVED_TIMEOUT="1s")
    await pause(producer.batch, flow="narrow")
    query_id = (await producer.submit(asked(), flow="narrow")).query_id
    await waits(producer, query_id, "paused")
    house.change_registry(_without("narrow"))

    with pytest.raises(FlowNotServed, match="the flow 'narrow'"):
        await producer.wait(query_id, 30)


async def test_the_time_without_a_knowing_worker_counts_only_while_a_worker_looks(
    house: House, producer: AsyncProducer
) -> None:
    worker = await start(house, FLYWHEEL_UNSERVED_TIMEOUT="20s")
    async with knowing(house, newer_registry(house)) as asks:
        query_id = (await asks.submit(asked(), flow="novel")).query_id
    await waits(producer, query_id, "registry")
    await asyncio.to_thread(worker.terminate, within=30)
    # As if no worker had lived for ten minutes: the first one that starts again must not be the old one's fault.
    field = "offered|"
    first, last, since = str(house.client.hget(wire.record_key(query_id), field)).split()
    ago = " ".join(str(int(each) - 600_000) for each in (first, last, since))
    house.client.hset(wire.record_key(query_id), field, ago)
    await start(house, FLYWHEEL_UNSERVED_TIMEOUT="20s")
    await asyncio.sleep(1)
    await start(house, newer_registry(house))

    assert (await producer.wait(query_id, 30)).flow == "novel"


async def test_what_is_parked_for_a_flow_stays_so_although_a_worker_does_not_know_it(
    house: House, producer: AsyncProducer
) -> None:
    older = house.folder / "older.yaml"
    older.write_text(_without("narrow"))
    await start(house, older)
    await start(house)
    await pause(producer.batch, flow="narrow")
    query_ids = [(await producer.submit(asked(), flow="narrow")).query_id for _ in range(20)]
    for each in query_ids:
        await waits(producer, each, "paused")
    parked = house.client.zrange("flywheel:parked:narrow", 0, -1, withscores=True)
    await asyncio.sleep(2)

    # Nothing was taken out and parked again meanwhile.
    assert house.client.zrange("flywheel:parked:narrow", 0, -1, withscores=True) == parked
    await resume(producer.batch, flow="narrow")
    assert {(await producer.wait(each, 40)).flow for each in query_ids} == {"narrow"}


async def test_what_waits_for_a_registry_costs_the_workers_little(house: House, producer: AsyncProducer) -> None:
    worker = await start(house)
    async with knowing(house, newer_registry(house)) as asks:
        query_ids = [(await asks.submit(asked(), flow="novel")).query_id for _ in range(50)]
    await asyncio.sleep(5)
    offers = _offers(worker, query_ids)

    # Each pause is a quarter of the time that it has waited: 25 times within the first minute.
    assert max(offers) <= 14
    assert (await producer.ask("How do I connect python to my database?", wait=30)).text


async def test_a_query_that_waits_can_be_cancelled_and_expires(house: House, producer: AsyncProducer) -> None:
    await start(house)
    async with knowing(house, newer_registry(house)) as asks:
        cancelled = (await asks.submit(asked(), flow="novel")).query_id
        expiring = (await asks.submit(asked(), flow="novel", timeout=2)).query_id
    await waits(producer, cancelled, "registry")
    assert await producer.cancel(cancelled)
    ended: Callable[[], Any] = lambda: house.client.hget(wire.record_key(expiring), "state") == "expired"  # noqa: E731
    await asyncio.to_thread(wait_for, ended, within=20, what="its deadline")

    assert house.client.hget(wire.record_key(cancelled), "state") == "cancelled"
    until = time.monotonic() + 20
    while house.client.exists("flywheel:delayed:classify"):
        assert time.monotonic() < until
        await asyncio.sleep(0.1)


def _offers(worker: Process, query_ids: list[str]) -> list[int]:
    lines = [line for line in worker.log.splitlines() if "waits for a worker with flow novel" in line]
    return [sum(each in line for line in lines) for each in query_ids]


def _without(flow: str) -> str:
    at = REGISTRY.index(f"  {flow}:")
    behind = REGISTRY.find("\n  ", REGISTRY.index("\n    id:", at) + 1)
    while REGISTRY[behind + 3] == " ":
        behind = REGISTRY.find("\n  ", behind + 1)
    # Nor is it anybody's fallback.
    return (REGISTRY[:at] + REGISTRY[behind + 1 :]).replace(f"    fallback: {flow}\n", "")
