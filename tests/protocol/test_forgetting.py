"""A damaged value keeps nobody from being forgotten, and is named where nobody can say whose it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from redis.asyncio import Redis

from agentic_flywheel.asker import Asker
from agentic_flywheel.broker import wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.forgetting import Person, delete, find

ANN = Asker("shop", "ann")
MINE, THEIRS = "1" * 32, "2" * 32
LESSONS = wire.lessons_key("labelled")


async def fill(client: Any) -> None:
    for query_id, asker in ((MINE, ANN.name), (THEIRS, "rival")):
        fields = {"owner": asker.partition(" ")[0], "asker": asker, "state": "succeeded", "query": "{}", "created": "1"}
        await client.hset(wire.record_key(query_id), mapping=fields)
        await client.hset(wire.scores_key(query_id), "rating", json.dumps({"by": asker}))
        lesson = {"query_id": query_id, "owner": asker, "query": "{}"}
        await client.hset(LESSONS, f"{query_id} score", json.dumps(lesson))


DAMAGED = ["{", "[]", "null", "5", "{}", '{"by": 5, "owner": 5, "query": 5, "query_id": 5}', "[" * 20_000]


@pytest.mark.parametrize("written", DAMAGED, ids=[each[:12] for each in DAMAGED])
async def test_damaged_values_of_others_keep_nobody_from_being_forgotten(
    batch: Batch, redis_client: Redis, written: str
) -> None:
    await fill(redis_client)
    odd = "3" * 32
    await redis_client.hset(wire.scores_key(odd), "rating", written)
    await redis_client.hset(LESSONS, f"{odd} score", written)
    await redis_client.set(wire.failure_key("flywheel:answer:t:5"), written)
    await redis_client.set(wire.bundle_key(odd), written)
    await redis_client.zadd(wire.DEAD_LETTERS, {odd: 1})
    await redis_client.set(wire.letter_key(odd), written)

    found = await find(batch, Person(ANN))
    gone = await delete(batch, Person(ANN), found)

    assert (gone["queries"], gone["scores"], gone["lessons"]) == (1, 1, 1)
    assert not await redis_client.exists(wire.record_key(MINE), wire.scores_key(MINE))
    assert set(await redis_client.hkeys(LESSONS)) == {f"{THEIRS} score", f"{odd} score"}
    assert await redis_client.exists(wire.record_key(THEIRS), wire.scores_key(THEIRS)) == 2
    named = {f"{wire.scores_key(odd)} rating", f"{LESSONS} {odd} score", wire.bundle_key(odd), wire.letter_key(odd)}
    assert named <= set(found.unreadable)


async def test_keys_of_another_type_keep_nobody_from_being_forgotten(batch: Batch, redis_client: Redis) -> None:
    await fill(redis_client)
    strings = [family("3" * 32) for family in (wire.record_key, wire.scores_key)] + [wire.lessons_key("unrouted")]
    hashes = [family("3" * 32) for family in (wire.bundle_key, wire.failure_key)]
    for key in strings:
        await redis_client.set(key, "x")
    for key in hashes:
        await redis_client.hset(key, "x", "y")

    found = await find(batch, Person(ANN))
    gone = await delete(batch, Person(ANN), found)

    assert (gone["queries"], gone["scores"], gone["lessons"]) == (1, 1, 1)
    assert set(found.unreadable) == {*strings, *hashes}


async def test_a_persons_own_damaged_values_are_deleted_with_their_query(batch: Batch, redis_client: Redis) -> None:
    await fill(redis_client)
    await redis_client.hset(
        wire.record_key(MINE), mapping={"calls": "x", "finished": "soon", "created": "", "ttl": "x"}
    )
    await redis_client.hset(wire.scores_key(MINE), "rating", "{")
    await redis_client.zadd(wire.DEAD_LETTERS, {MINE: 1})
    await redis_client.set(wire.letter_key(MINE), "{")

    found = await find(batch, Person(ANN))
    gone = await delete(batch, Person(ANN), found)

    assert (gone["queries"], gone["scores"], gone["dead letters"]) == (1, 1, 1)
    assert not await redis_client.exists(wire.record_key(MINE), wire.scores_key(MINE), wire.letter_key(MINE))
    assert found.unreadable == []


async def test_a_record_without_its_asker_is_named(batch: Batch, redis_client: Redis) -> None:
    await redis_client.hset(wire.record_key(MINE), mapping={"state": "failed", "query": "{}"})

    assert (await find(batch, Person(ANN))).unreadable == [wire.record_key(MINE)]
