"""Dead letters as they are listed, chosen and removed: by id, error, flow, user and age."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import typer
from redis.asyncio import Redis

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.records import DeadLetter
from agentic_flywheel.errors import FlowTimeout, FlowUnauthorized
from agentic_flywheel.models import Query
from producer.cli.dead_letters import selection_from
from producer.replay.own import letters, read_letters
from producer.replay.wanted import Wanted


@pytest.fixture
async def batch(redis_client: Redis) -> AsyncIterator[Batch]:
    """A broker with 450 dead letters, one a minute, the newest a minute old."""
    now = datetime.now(UTC)
    for number in range(450):
        error = (FlowTimeout("slow", 1.0) if number % 3 else FlowUnauthorized("slow", "status 401")).describe()
        letter = DeadLetter(
            query_id=f"q{number:03}",
            query=Query(question=f"question {number}", user="ann" if number % 2 else "bob", session_id="s"),
            flow="slow" if number % 5 else "quick",
            domain="d",
            attempts=3,
            error=error,
            at=now - timedelta(minutes=450 - number),
        )
        await redis_client.set(wire.letter_key(letter.query_id), letter.model_dump_json())
        await redis_client.zadd(wire.DEAD_LETTERS, {letter.query_id: letter.at.timestamp() * 1000})
    opened = Batch(redis_client)
    yield opened
    await opened.close()


async def found(batch: Batch, *, newest_first: bool = False, **wanted: Any) -> list[str]:
    return [letter.query_id async for letter in letters(batch, Wanted(**wanted), newest_first=newest_first)]


async def test_letters_come_page_by_page_in_either_order(batch: Batch) -> None:
    every = [f"q{number:03}" for number in range(450)]

    assert await found(batch) == every
    assert await found(batch, newest_first=True) == every[::-1]


async def test_letters_are_chosen_by_error_flow_user_age_and_id(batch: Batch) -> None:
    assert len(await found(batch, error_type="FlowUnauthorized")) == 150
    assert len(await found(batch, flow="quick")) == 90
    assert len(await found(batch, user="ann", flow="quick")) == 45
    assert await found(batch, since=timedelta(minutes=3, seconds=30)) == ["q447", "q448", "q449"]
    assert await found(batch, older=timedelta(minutes=448, seconds=30)) == ["q000", "q001"]
    assert await found(batch, since=timedelta(minutes=449, seconds=30), older=timedelta(minutes=448)) == [
        "q001",
        "q002",
    ]
    assert await found(batch, query_ids=frozenset(["q007", "q300", "unknown"])) == ["q007", "q300"]


async def test_none_is_not_older_than_now(batch: Batch) -> None:
    """Else `flywheel dead-letters purge --since 0` would remove all."""
    assert await found(batch, since=timedelta(0)) == []
    assert len(await found(batch, older=timedelta(0))) == 450


async def test_a_letter_is_asked_again_as_its_user_and_past_a_remembered_failure(batch: Batch) -> None:
    (item,) = [item async for item in read_letters(batch, Wanted(query_ids=frozenset(["q007"])))]

    assert (item.id, item.user, item.session_id, item.cache) == ("q007", "ann", "s", "refresh")
    assert item.baseline is not None
    assert (item.baseline.state, item.baseline.error_type, item.baseline.attempts) == ("failed", "FlowTimeout", 3)


def test_nothing_is_selection_from_that_was_not_said() -> None:
    assert selection_from(["a"], False, Wanted()) == Wanted(query_ids=frozenset(["a"]))
    assert selection_from(None, True, Wanted(flow="f")) == Wanted(flow="f")
    assert selection_from(None, False, Wanted(error_type="FlowTimeout")) == Wanted(error_type="FlowTimeout")
    for query_ids, everything, filtered in (
        (None, False, Wanted()),
        (["a"], True, Wanted()),
        (["a"], False, Wanted(flow="f")),
    ):
        with pytest.raises(typer.BadParameter):
            selection_from(query_ids, everything, filtered)
