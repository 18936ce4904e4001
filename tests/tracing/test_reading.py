"""Traces read back from a server, from files and from records."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from langfuse_server import PUBLIC_KEY, SECRET_KEY, LangfuseServer
from redis.asyncio import Redis

from agentic_flywheel.asker import Asker
from agentic_flywheel.broker import wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.scores import give_score, send_scores
from agentic_flywheel.errors import UnknownQuery, UnknownSession
from agentic_flywheel.ids import new_query_id
from agentic_flywheel.models import Answer, Record, Usage
from agentic_flywheel.settings import Settings
from agentic_flywheel.tracing import Tracer
from agentic_flywheel.tracing.archive import Wish
from agentic_flywheel.tracing.reading import read_thread, read_trace, search_traces
from tracing.conftest import MakeTracer
from tracing.lua import put_record
from tracing.records import record

Place = Literal["langfuse", "file"]
NOW = datetime.now(UTC)


class Desk:
    """Traces queries and reads them back at one place."""

    def __init__(self, batch: Batch, client: Redis, tracer: Tracer, settings: Settings) -> None:
        self.batch, self.client, self.tracer, self.settings = batch, client, tracer, settings

    async def ended(self, question: str, *, known: bool = True, **fields: Any) -> Record:
        """Trace a query that has ended; ``known``: its record is still there."""
        now = datetime.now(UTC)
        ended = record(question=question, created=now, finished=now + timedelta(seconds=1), **fields)
        if known:
            await put_record(
                self.client,
                ended.query_id,
                state="succeeded",
                owner=ended.asker.owner,
                query=ended.query.model_dump_json(),
                flow=str(ended.flow),
                created=int(ended.created.timestamp() * 1000),
                finished=int(now.timestamp() * 1000) + 1000,
            )
        trace = self.tracer.trace(ended.query_id, session=ended.query.session_id, user=ended.asker.name)
        start = int(now.timestamp() * 1000) * 10**6
        trace.observe(
            "flow-execution",
            "generation",
            start=start,
            end=start + 5 * 10**6,
            input=question,
            output={"text": "So."},
            metadata={"flow_key": ended.flow},
            model="a-model",
            usage=Usage(input_tokens=2, output_tokens=3, total_tokens=5),
            first_token=start + 10**6,
        )
        trace.root(ended, title="Technical Analysis")
        return ended

    def sent(self) -> None:
        assert self.tracer.close(5)


@pytest.fixture(params=["langfuse", "file"])
def place(request: pytest.FixtureRequest) -> Place:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
async def desk(
    place: Place, batch: Batch, redis_client: Redis, make_tracer: MakeTracer, server: LangfuseServer, tmp_path: Path
) -> Desk:
    settings = Settings(home=tmp_path) if place == "file" else settings_of(server, tmp_path)
    return Desk(batch, redis_client, make_tracer(server if place == "langfuse" else None), settings)


def settings_of(server: LangfuseServer, home: Path) -> Settings:
    return Settings(
        home=home, langfuse_base_url=server.url, langfuse_public_key=PUBLIC_KEY, langfuse_secret_key=SECRET_KEY
    )


async def test_a_trace_is_read_back_whole(desk: Desk, place: Place) -> None:
    ended = await desk.ended("How do I connect PostgreSQL with Python?")
    await give_score(desk.batch, ended.query_id, 8, comment="good")
    await send_scores(desk.batch, desk.settings)
    desk.sent()

    view = await read_trace(desk.batch, desk.settings, ended.query_id, asker=Asker("ada"))

    root, call = view.observations
    assert view.root == root
    assert root.name == "Technical Analysis: connect PostgreSQL Python"
    assert (root.session, root.user, root.tags) == ("s-1", "ada", ("domain:technical", "band:high", "client:cli"))
    assert (call.name, call.type, call.parent, call.model) == ("flow-execution", "generation", root.span_id, "a-model")
    assert call.end - call.start == 5 * 10**6
    assert call.first_token == call.start + 10**6
    assert call.usage is not None
    assert call.usage.total_tokens == 5
    assert json.loads(str(call.output)) == {"text": "So."}
    assert [(score.name, score.value, score.comment) for score in view.scores] == [("rating", 8, "good")]
    assert view.source == ("Langfuse" if place == "langfuse" else "the trace file")
    shown = json.loads(json.dumps(view.as_object()))
    assert [each["depth"] for each in shown["observations"]] == [0, 1]


async def test_a_trace_outlives_its_record_and_stays_its_owners(desk: Desk) -> None:
    ended = await desk.ended("Who reads this?", known=False)
    desk.sent()

    assert (await read_trace(desk.batch, desk.settings, ended.query_id, asker=Asker("ada"))).root is not None
    with pytest.raises(UnknownQuery):
        await read_trace(desk.batch, desk.settings, ended.query_id, asker=Asker("eve"))


async def test_nobody_reads_another_ones_trace(desk: Desk) -> None:
    ended = await desk.ended("Who reads this?")
    desk.sent()

    with pytest.raises(UnknownQuery):
        await read_trace(desk.batch, desk.settings, ended.query_id, asker=Asker("eve"))


async def test_an_unknown_query_has_no_trace(desk: Desk) -> None:
    with pytest.raises(UnknownQuery):
        await read_trace(desk.batch, desk.settings, new_query_id())


async def test_traces_are_found_by_text_flow_date_owner_and_score(desk: Desk) -> None:
    sql = await desk.ended("How do I connect PostgreSQL?")
    poem = await desk.ended("Write a poem", flow="creative", answer=_answer("Roses."))
    other = await desk.ended("Who is eve?", owner="eve")
    near = await desk.ended("Who is adam?", owner="ada-m")
    await give_score(desk.batch, sql.query_id, 9)
    await give_score(desk.batch, poem.query_id, 3)
    await send_scores(desk.batch, desk.settings)
    desk.sent()

    async def found(**wish: Any) -> set[str]:
        return {each.query_id for each in await search_traces(desk.batch, desk.settings, Wish(**wish))}

    everything = {sql.query_id, poem.query_id, other.query_id, near.query_id}
    assert await found() == everything
    assert await found(text="postgresql") == {sql.query_id}
    assert await found(text="roses") == {poem.query_id}
    assert await found(flow="creative") == {poem.query_id}
    assert await found(asker=Asker("eve")) == {other.query_id}
    assert await found(asker=Asker("ada")) == {sql.query_id, poem.query_id}
    assert await found(asker=Asker("ada", "m")) == set()
    assert await found(since=NOW - timedelta(minutes=1)) == everything
    assert await found(until=NOW - timedelta(minutes=1)) == set()
    assert await found(min_score=8) == {sql.query_id}
    assert await found(max_score=5) == {poem.query_id}
    assert await found(min_score=8, text="poem") == set()
    assert len(await found(limit=2)) == 2
    (best,) = await search_traces(desk.batch, desk.settings, Wish(min_score=9))
    assert (best.rating, best.flow, best.question) == (9, "technical-analysis", "How do I connect PostgreSQL?")


async def test_a_session_is_read_as_a_thread(desk: Desk) -> None:
    name = Asker("ada").session_name("s-1")
    await desk.client.hset(wire.session_key(name), mapping={"life": "a", "created": 1000})
    first = await desk.ended("First?")
    turn = {"query_id": "old", "question": "Before?", "answer": "Yes.", "flow": "f", "domain": "d", "at": 1000}
    await desk.client.rpush(wire.turns_key(name), json.dumps(turn))
    desk.sent()

    thread = await read_thread(desk.batch, desk.settings, "s-1", asker=Asker("ada"))

    assert [(each.query_id, each.question) for each in thread] == [("old", "Before?"), (first.query_id, "First?")]
    with pytest.raises(UnknownSession):
        await read_thread(desk.batch, desk.settings, "s-1", asker=Asker("eve"))


async def test_without_any_trace_the_record_tells_the_broad_steps(
    batch: Batch, redis_client: Redis, tmp_path: Path
) -> None:
    await put_record(redis_client, "q", routed=1200, started=1300, domain="technical", flow="sql")
    await redis_client.zadd(wire.owned_key("ada"), {"q": 1})

    view = await read_trace(batch, Settings(home=tmp_path), "q", asker=Asker("ada"))

    assert view.source == "the record"
    assert [each.name for each in view.observations[1:]] == ["queue-wait", "queue-wait", "flow-execution"]
    assert view.observations[0].message == "under way: running"
    (found,) = await search_traces(batch, Settings(home=tmp_path), Wish(asker=Asker("ada"), text="why"))
    assert found.query_id == "q"


@pytest.mark.parametrize("setting", [{"langfuse_sample_rate": 0.0}, {"tracing_enabled": False}])
async def test_a_trace_that_is_not_made_is_not_waited_for(
    batch: Batch, redis_client: Redis, tmp_path: Path, setting: dict[str, object]
) -> None:
    just_now = int(time.time() * 1000)
    await put_record(redis_client, "q", state="cancelled", finished=just_now)

    began = time.monotonic()
    view = await read_trace(batch, Settings(home=tmp_path, **setting), "q", within=timedelta(seconds=60))  # type: ignore[arg-type]

    assert view.source == "the record"
    assert time.monotonic() - began < 30


async def test_steps_whose_root_was_lost_with_its_worker_are_shown_under_the_record(
    batch: Batch, redis_client: Redis, make_tracer: MakeTracer, tmp_path: Path
) -> None:
    await put_record(redis_client, "q", state="cancelled", finished=2000)
    tracer = make_tracer()
    tracer.trace("q").observe("intent-classification", start=1, end=2)
    tracer.close(5)

    view = await read_trace(batch, Settings(home=tmp_path), "q")

    assert view.root is not None
    assert view.root.message == "cancelled"
    assert [each.name for each in view.observations[1:]] == ["intent-classification"]


async def test_langfuse_away_is_said_and_the_record_answers(
    batch: Batch, redis_client: Redis, server: LangfuseServer, tmp_path: Path
) -> None:
    await put_record(redis_client, "q", state="cancelled", finished=2000)
    with server.failing("status", status=401):
        view = await read_trace(batch, settings_of(server, tmp_path), "q")

    assert view.source == "the record"
    assert view.note == "Langfuse could not be read: status 401"


async def test_a_trace_that_langfuse_does_not_show_yet_is_waited_for(
    batch: Batch, redis_client: Redis, server: LangfuseServer, make_tracer: MakeTracer, tmp_path: Path
) -> None:
    desk = Desk(batch, redis_client, make_tracer(server), settings_of(server, tmp_path))
    server.lag = 0.5
    ended = await desk.ended("When?")
    desk.sent()

    began = time.monotonic()
    view = await read_trace(batch, desk.settings, ended.query_id)

    assert view.source == "Langfuse"
    assert time.monotonic() - began < 5


def _answer(text: str) -> Answer:
    return Answer(query_id="", text=text, flow="creative", domain="creative")
