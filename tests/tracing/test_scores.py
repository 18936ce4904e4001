from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from langfuse_server import PUBLIC_KEY, SECRET_KEY, LangfuseServer
from redis.asyncio import Redis

from agentic_flywheel.asker import Asker
from agentic_flywheel.broker import wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.scores import (
    SENT_WITHIN,
    Score,
    check,
    give_score,
    next_wait,
    read_value,
    scores_of,
    send_scores,
)
from agentic_flywheel.errors import InvalidScore, UnknownQuery
from agentic_flywheel.figures.tally import add_up, hour_of, read_hours
from agentic_flywheel.ids import new_query_id
from agentic_flywheel.settings import Settings
from tracing.lua import put_record

NOWHERE = Settings()


@pytest.fixture
async def query_id(redis_client: Redis) -> str:
    query_id = new_query_id()
    await put_record(redis_client, query_id, state="succeeded", flow="technical-analysis")
    return query_id


def settings_of(server: LangfuseServer) -> Settings:
    return Settings(langfuse_base_url=server.url, langfuse_public_key=PUBLIC_KEY, langfuse_secret_key=SECRET_KEY)


async def ratings(batch: Batch) -> tuple[float, int]:
    hour = hour_of(datetime.now(UTC))
    hours = await read_hours(batch, (hour - 1, hour))
    flow = add_up(hours.values()).flows.get("technical-analysis")
    return (flow.score_sum, flow.score_count) if flow else (0.0, 0)


@pytest.mark.parametrize("value", [1, 10, 7.5, True, False, "helpful"])
async def test_a_score_is_kept_beside_its_query(batch: Batch, query_id: str, value: Any) -> None:
    score = await give_score(batch, query_id, value, comment="räumt auf", asker=Asker("ada"))

    assert await scores_of(batch, [query_id]) == {query_id: [score]}
    assert (score.value, score.comment, score.by, score.flow) == (value, "räumt auf", "ada", "technical-analysis")
    assert type(score.value) is type(value)


@pytest.mark.parametrize(
    ("value", "name", "comment"),
    [
        (0, "rating", ""),
        (10.5, "rating", ""),
        (float("nan"), "rating", ""),
        (-float("inf"), "rating", ""),
        (10**400, "rating", ""),
        (None, "rating", ""),
        ([5], "rating", ""),
        ("", "rating", ""),
        ("x" * 101, "rating", ""),
        (5, "not a name", ""),
        (5, "rating", "x" * 2001),
    ],
)
def test_an_unusable_score_is_refused(value: Any, name: str, comment: str) -> None:
    with pytest.raises(InvalidScore, match=r"The score was not accepted: (value|name|comment): "):
        check(value, name=name, comment=comment)


def test_what_a_person_types_becomes_a_value() -> None:
    assert [read_value(text) for text in ("8", "7.5", "True", "false", " helpful ")] == [
        8.0,
        7.5,
        True,
        False,
        "helpful",
    ]


async def test_a_score_of_an_unknown_query_is_an_error(batch: Batch) -> None:
    with pytest.raises(UnknownQuery):
        await give_score(batch, new_query_id(), 5)


async def test_nobody_scores_another_ones_query(batch: Batch, query_id: str) -> None:
    with pytest.raises(UnknownQuery):
        await give_score(batch, query_id, 5, asker=Asker("eve"))

    assert await scores_of(batch, [query_id]) == {query_id: []}


async def test_repeating_a_score_changes_nothing_and_correcting_it_counts_once(batch: Batch, query_id: str) -> None:
    first = await give_score(batch, query_id, 4)
    assert await give_score(batch, query_id, 4) == first
    assert await ratings(batch) == (4.0, 1)

    corrected = await give_score(batch, query_id, 9)
    assert (corrected.at, corrected.score_id) == (first.at, first.score_id)
    assert await ratings(batch) == (9.0, 1)

    await give_score(batch, query_id, "useless")
    assert await ratings(batch) == (0.0, 0)


async def test_scores_of_other_names_do_not_enter_the_rating(batch: Batch, query_id: str) -> None:
    await give_score(batch, query_id, 9)
    await give_score(batch, query_id, 1, name="length")

    assert await ratings(batch) == (9.0, 1)
    assert [score.name for score in (await scores_of(batch, [query_id]))[query_id]] == ["length", "rating"]


async def test_scores_reach_langfuse(batch: Batch, query_id: str, server: LangfuseServer) -> None:
    settings = settings_of(server)
    number = await give_score(batch, query_id, 8, comment="good")
    await give_score(batch, query_id, True, name="helpful")
    await give_score(batch, query_id, "praise", name="tone")

    assert await send_scores(batch, settings) == 3
    assert await send_scores(batch, settings) == 0

    sent = {score["name"]: score for score in server.scores.values()}
    assert sent["rating"] == {
        "id": number.score_id,
        "traceId": query_id,
        "name": "rating",
        "value": 8,
        "dataType": "NUMERIC",
        "comment": "good",
        "timestamp": number.at.isoformat(),
        "environment": "default",
    }
    assert (sent["helpful"]["value"], sent["helpful"]["dataType"]) == (1, "BOOLEAN")
    assert (sent["tone"]["value"], sent["tone"]["dataType"]) == ("praise", "CATEGORICAL")


async def test_a_netrc_of_the_user_keeps_no_score_from_being_sent(
    batch: Batch, query_id: str, server: LangfuseServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logins = tmp_path / "netrc"
    logins.write_text("default login anonymous password me@example.com\n")
    monkeypatch.setenv("NETRC", str(logins))
    await give_score(batch, query_id, 8)

    assert await send_scores(batch, settings_of(server)) == 1


async def test_a_score_waits_while_langfuse_is_away(
    batch: Batch, query_id: str, server: LangfuseServer, redis_client: Redis
) -> None:
    settings = settings_of(server)
    await give_score(batch, query_id, 8)
    with server.failing("status", status=503):
        assert await send_scores(batch, settings) == 0
    assert await send_scores(batch, settings) == 0, "tried again too soon"

    await redis_client.zadd(wire.UNSENT_SCORES, {f"{query_id}\nrating": 0})
    assert await send_scores(batch, settings) == 1
    assert len(server.scores) == 1


async def test_a_score_that_langfuse_refuses_is_kept_here(
    batch: Batch, query_id: str, server: LangfuseServer, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_of(server)
    await give_score(batch, query_id, 8)
    with server.failing("status", status=400), caplog.at_level(logging.WARNING):
        await send_scores(batch, settings)

    assert await batch.call("ZCARD", wire.UNSENT_SCORES) == 0
    assert len((await scores_of(batch, [query_id]))[query_id]) == 1
    assert "kept here only" in caplog.text


def test_waiting_grows_and_ends() -> None:
    assert next_wait(timedelta(seconds=1)) == 5
    assert next_wait(timedelta(minutes=10)) == 600
    assert next_wait(timedelta(hours=30)) == 3600
    assert next_wait(SENT_WITHIN + timedelta(seconds=1)) is None


def test_ids_differ_by_query_and_name() -> None:
    at = datetime.now(UTC)
    scores = [Score(query_id=query, name=name, value=1, at=at) for query in ("a", "b") for name in ("x", "y")]

    assert len({score.score_id for score in scores}) == 4


async def test_a_score_that_cannot_be_read_keeps_no_other_from_being_sent(
    batch: Batch, query_id: str, server: LangfuseServer, redis_client: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    await give_score(batch, query_id, 8)
    await redis_client.zadd(wire.UNSENT_SCORES, {"no-hash\nrating": 1, "no-json\nrating": 2})
    await redis_client.set(wire.scores_key("no-hash"), "x")
    await redis_client.hset(wire.scores_key("no-json"), "rating", "{")
    with caplog.at_level(logging.ERROR):
        assert await send_scores(batch, settings_of(server)) == 1

    assert len(server.scores) == 1
    assert caplog.text.count("cannot be read, and is not sent") == 2
    assert await batch.call("ZCARD", wire.UNSENT_SCORES) == 0
