"""What is kept of a query for learning, for how long, and of which nothing is."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from redis.asyncio import Redis
from tracing.lua import put_record

from agentic_flywheel.asker import Asker
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.errors import UnknownQuery
from agentic_flywheel.ids import new_query_id
from agentic_flywheel.learning import lessons
from agentic_flywheel.learning.lessons import Lesson, keep_rating, keep_rerouting, keep_unrouted, load_lessons

ROUTE = {
    "targets": [{"flow": "poet", "domain": "creative", "confidence": 0.3}],
    "decision": "default",
    "band": "low",
    "confidence": 0.3,
    "novel": True,
}


async def put_query(client: Redis, question: str, *, route: dict[str, Any] = ROUTE, **fields: str) -> str:
    query_id = new_query_id()
    query = json.dumps({"question": question, "user": "ada", **fields})
    await put_record(client, query_id, query=query, flow="poet", route=json.dumps(route))
    return query_id


async def test_a_re_route_is_kept_with_all_that_learning_needs(batch: Batch, redis_client: Redis) -> None:
    query_id = await put_query(redis_client, "Warum ist die Abfrage „langsam“?", session_id="s")

    assert await keep_rerouting(batch, query_id, "coder", asker=Asker("ada"))
    await redis_client.delete(f"flywheel:query:{query_id}")

    (lesson,) = await load_lessons(batch)
    assert lesson == Lesson(
        query_id=query_id,
        kind="reroute",
        question="Warum ist die Abfrage „langsam“?",
        flows=("poet",),
        right="coder",
        band="low",
        novel=True,
        in_session=True,
        owner="ada",
        at=lesson.at,
    )


async def test_the_latest_word_counts_and_each_kind_has_its_own(batch: Batch, redis_client: Redis) -> None:
    query_id = await put_query(redis_client, "Why is it slow?")

    for right in ("poet", "coder"):
        await keep_rerouting(batch, query_id, right, asker=Asker("ada"))
    for value in (9, 2):
        await keep_rating(batch, query_id, value, asker=Asker("ada"))
    await keep_unrouted(batch, query_id)

    found = {lesson.kind: lesson for lesson in await load_lessons(batch)}
    assert len(found) == 3
    assert (found["reroute"].right, found["score"].good) == ("coder", False)


@pytest.mark.parametrize(
    ("value", "good"), [(10, True), (7, True), (6.9, None), (4.1, None), (4, False), (True, True), ("fine", None)]
)
async def test_a_rating_says_right_wrong_or_nothing_of_the_route(
    batch: Batch, redis_client: Redis, value: Any, good: bool | None
) -> None:
    await keep_rating(batch, await put_query(redis_client, "Why?"), value, asker=Asker("ada"))

    assert [lesson.good for lesson in await load_lessons(batch)] == [good]


async def test_of_a_query_under_a_profile_nothing_is_kept(batch: Batch, redis_client: Redis) -> None:
    query_id = await put_query(redis_client, "Is the MARKER merger legal?", profile="board")

    assert not await keep_rerouting(batch, query_id, "coder", asker=Asker("ada"))
    assert not await keep_rating(batch, query_id, 9, asker=Asker("ada"))
    assert not await keep_unrouted(batch, query_id)

    assert await load_lessons(batch) == []
    assert [key async for key in redis_client.scan_iter("flywheel:lessons:*")] == []


async def test_another_owner_s_query_teaches_nothing(batch: Batch, redis_client: Redis) -> None:
    query_id = await put_query(redis_client, "Why?")

    with pytest.raises(UnknownQuery):
        await keep_rerouting(batch, query_id, "coder", asker=Asker("eve"))
    with pytest.raises(UnknownQuery):
        await keep_rating(batch, new_query_id(), 9, asker=Asker("ada"))


async def test_a_question_that_is_no_example_of_anything_is_not_kept(batch: Batch, redis_client: Redis) -> None:
    assert not await keep_rating(batch, await put_query(redis_client, "why " * 2000), 9, asker=Asker("ada"))


async def test_of_too_many_lessons_the_oldest_give_way_and_labels_are_not_crowded_out(
    batch: Batch, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(lessons._MOST, "unrouted", 3)
    labelled = await put_query(redis_client, "labelled")
    await keep_rating(batch, labelled, 9, asker=Asker("ada"))
    for number in range(5):
        await asyncio.sleep(0.002)  # each in a millisecond of its own
        await keep_unrouted(batch, await put_query(redis_client, f"unrouted {number}"))

    kept = [lesson.question for lesson in await load_lessons(batch)]

    assert kept == ["labelled", "unrouted 2", "unrouted 3", "unrouted 4"]
    for key in ("lessons:unrouted", "lesson-times:unrouted", "lessons:labelled"):
        assert 0 < await redis_client.ttl(f"flywheel:{key}") <= lessons.KEPT.total_seconds()


async def test_where_the_user_was_asked_back_no_flow_was_wrong(batch: Batch, redis_client: Redis) -> None:
    query_id = await put_query(redis_client, "It?", route={**ROUTE, "decision": "clarify"})

    await keep_rerouting(batch, query_id, "coder", asker=Asker("ada"))

    assert [lesson.flows for lesson in await load_lessons(batch)] == [()]
