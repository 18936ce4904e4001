"""The types that a caller of the producers sees. Two type checkers read this file; nothing runs it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import assert_type

from agentic_flywheel.broker.scores import Score
from agentic_flywheel.broker.sessions import Session
from agentic_flywheel.catalog import Catalog
from agentic_flywheel.errors import FlywheelError
from agentic_flywheel.models import Answer, Event, Message, Priority, Query, Record, State, Turn
from agentic_flywheel.settings import Settings
from producer import AsyncProducer, Producer, QueryFields, Submission


def a_producer() -> None:
    with Producer() as producer:
        assert_type(producer, Producer)
        assert_type(producer.catalog, Catalog)
        assert_type(producer.submit("Why?"), Submission)
        assert_type(producer.submit(Query(question="Why?"), flow="a"), Submission)
        assert_type(producer.submit_many(["Why?", Query(question="How?")]), list[Submission | FlywheelError])
        assert_type(producer.ask("Why?", wait=30), Answer)
        assert_type(producer.wait("q", 5.0), Answer)
        assert_type(producer.stream("q", after="1-0"), Generator[Event, None, None])
        assert_type([event.kind == "final" for event in producer.stream("q")], list[bool])
        assert_type(producer.status("q"), Record)
        assert_type(producer.recent(limit=3), list[Record])
        assert_type(producer.records(["q"]), list[Record | None])
        assert_type(producer.cancel("q"), dict[str, State])
        assert_type(producer.cancel(session_id="s"), dict[str, State])
        assert_type(producer.cancel(everything=True), dict[str, State])
        assert_type(producer.reroute("q", "a"), Submission)
        assert_type(producer.score("q", 8, comment="good, but long"), Score)
        assert_type(producer.score("q", True, name="helpful"), Score)
        assert_type(producer.score("q", "too long", name="why"), Score)
        assert_type(producer.history("s", limit=3), list[Turn])
        assert_type(producer.use_profile("s", None), Session)
        assert_type(producer.close(), None)


async def an_async_producer() -> None:
    async with AsyncProducer(Settings(), owner="ada", client="shop") as producer:
        assert_type(producer, AsyncProducer)
        assert_type(producer.acting_for("bob"), AsyncProducer)
        assert_type(producer.catalog, Catalog)
        assert_type(producer.settings, Settings)
        assert_type(producer.owner, str)
        assert_type(await producer.submit("Why?"), Submission)
        assert_type(await producer.submit(Query(question="Why?"), flow="a"), Submission)
        assert_type(await producer.submit_many(["Why?", Query(question="How?")]), list[Submission | FlywheelError])
        assert_type(await producer.ask("Why?", wait=30), Answer)
        assert_type(await producer.wait("q", 5.0), Answer)
        assert_type(producer.stream("q", after="1-0"), AsyncGenerator[Event, None])
        async with aclosing(producer.stream("q")) as events:
            async for event in events:
                assert_type(event, Event)
        assert_type(await producer.status("q"), Record)
        assert_type(await producer.recent(limit=3), list[Record])
        assert_type(await producer.records(["q"]), list[Record | None])
        assert_type(await producer.cancel("q"), dict[str, State])
        assert_type(await producer.cancel(session_id="s"), dict[str, State])
        assert_type(await producer.cancel(everything=True), dict[str, State])
        assert_type(await producer.reroute("q", "a"), Submission)
        assert_type(await producer.score("q", 8.5), Score)
        assert_type(await producer.history("s", limit=3), list[Turn])
        assert_type(await producer.use_profile("s", "museum"), Session)
        assert_type(await producer.close(), None)


def what_an_answer_holds(submission: Submission, answer: Answer, record: Record) -> None:
    assert_type(submission.query_id, str)
    assert_type(submission.answer, Answer | None)
    assert_type(answer.text, str)
    assert_type(answer.elapsed, timedelta)
    assert_type(record.state, State)
    assert_type(record.answer, Answer | None)


def every_field(producer: Producer) -> None:
    fields: QueryFields = {"session_id": "s", "timeout": timedelta(minutes=1)}
    producer.submit("Why?", **fields)
    producer.ask(
        "Why?",
        session_id="s",
        user="ada",
        flow="a",
        domain="technical",
        intent="sql",
        profile="museum",
        context="It is about the river.",
        context_type="cultural",
        config={"temperature": 0.2, "vars": {"tone": "plain"}},
        history=(Message(role="userMessage", content="Hello"),),
        cache="bypass",
        priority=Priority.HIGH,
        deadline=datetime.now(UTC),
        client="shop",
        metadata={"ticket": 7},
    )
    producer.ask("Why?", priority="low", timeout=2.5)


def what_a_checker_must_refuse(producer: Producer) -> None:
    """Each line is an error; the comment that silences it would be reported as unused if it were none."""
    producer.submit("Why?", flows="a")  # type: ignore
    producer.submit("Why?", priority="urgent")  # type: ignore
    producer.submit("Why?", cache="yes")  # type: ignore
    producer.submit("Why?", timeout="10s")  # type: ignore
    producer.submit(7)  # type: ignore
    producer.ask("Why?", 30)  # type: ignore
    producer.score("q")  # type: ignore
    producer.wait()  # type: ignore
