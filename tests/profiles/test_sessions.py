"""Conversations on running workers: who remembers them, in what order they run, how long and how much is kept."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import pairwise

import pytest

from agentic_flywheel.asker import Asker
from agentic_flywheel.broker import wire
from agentic_flywheel.broker.sessions import configure_session, list_sessions, load_session, use_profile
from agentic_flywheel.errors import UnknownQuery, UnknownSession
from producer import AsyncProducer
from profiles.house import TECHNICAL, ProfileHouse, fresh, session

_TWO_DAYS = 2 * 86400


async def test_a_flow_without_memory_is_sent_the_last_five_turns(alice: AsyncProducer, house: ProfileHouse) -> None:
    conversation = session()
    questions = [fresh(f"Clause {number} of the contract?") for number in range(7)]

    answers = [await alice.ask(each, flow="documents", session_id=conversation, wait=20) for each in questions]

    body = house.received_one(questions[6])
    assert [message["content"] for message in body["history"] if message["role"] == "userMessage"] == questions[1:6]
    assert [message["content"] for message in body["history"] if message["role"] == "apiMessage"] == [
        each.text for each in answers[1:6]
    ]
    assert "history" not in house.received_one(questions[0])


async def test_a_flow_that_remembers_is_sent_the_session_and_no_turn_is_ever_sent_both_ways(
    alice: AsyncProducer, house: ProfileHouse
) -> None:
    conversation = session()
    asked = []
    for flow in ("technical", "technical", "documents", "technical", "documents", "technical"):
        question = fresh("And then?")
        await alice.ask(question, flow=flow, session_id=conversation, wait=20)
        asked.append((flow, house.received_one(question)))

    sessions = [body.get("overrideConfig", {}).get("sessionId") for _, body in asked]
    turns_sent = [len(body.get("history", ())) // 2 for _, body in asked]
    # Flowise's memory is used while it holds every turn; once another flow has answered, the turns are sent.
    assert sessions[0] == sessions[1] is not None
    assert sessions[2:] == [None] * 4
    assert turns_sent == [0, 0, 2, 3, 4, 5]


async def test_a_turn_from_the_cache_is_one_that_flowise_never_saw(alice: AsyncProducer, house: ProfileHouse) -> None:
    question, follow_up = fresh("How do I index a python database?"), fresh("And then?")
    await alice.ask(question, flow="technical", wait=20)
    conversation = session()

    cached = await alice.ask(question, flow="technical", session_id=conversation, wait=20)
    await alice.ask(follow_up, flow="technical", session_id=conversation, wait=20)

    body = house.received_one(follow_up)
    assert cached.cached
    assert [message["content"] for message in body["history"]] == [question, cached.text]
    assert "sessionId" not in body.get("overrideConfig", {})


async def test_turns_run_one_after_the_other_and_hold_up_no_other_session(
    alice: AsyncProducer, house: ProfileHouse
) -> None:
    house.behave(TECHNICAL, latency=0.25)
    busy, other = session(), session()
    turns = [fresh(f"Step {number}") for number in range(3)]

    slow = [await alice.submit(each, flow="technical", session_id=busy) for each in turns]
    beside = [await alice.submit(fresh("Beside"), flow="technical", session_id=each) for each in (other, None)]
    await asyncio.gather(*(alice.wait(each.query_id, 20) for each in (*slow, *beside)))

    records = [await alice.status(each.query_id) for each in slow]
    for before, after in pairwise(records):
        assert before.finished is not None
        assert after.started is not None
        assert before.finished <= after.started
    for each in beside:
        record = await alice.status(each.query_id)
        # It was under way, on the same flow, before the busy session came to its last turn.
        assert record.started is not None
        assert records[2].started is not None
        assert record.started < records[2].started
    sessions = [house.received_one(each)["overrideConfig"]["sessionId"] for each in turns]
    assert len(set(sessions)) == 1


async def test_a_failed_or_cancelled_turn_lets_the_next_one_go_on(alice: AsyncProducer, house: ProfileHouse) -> None:
    house.behave(TECHNICAL, fault="error_500", fault_first=1, latency=0.1)
    conversation = session()

    failing, cancelled, last = [
        await alice.submit(fresh("Step"), flow="technical", session_id=conversation) for _ in range(3)
    ]
    await alice.cancel(cancelled.query_id)
    await alice.wait(last.query_id, 20)

    assert [turn.query_id for turn in await alice.history(conversation)] == [last.query_id]
    assert (await load_session(alice.batch, conversation, asker=Asker("alice"))).under_way == ()
    assert (await alice.status(failing.query_id)).error is not None


async def test_a_session_outlives_its_queries_and_still_has_its_context(house: ProfileHouse) -> None:
    conversation, first, later = session(), fresh("First clause?"), fresh("And now?")
    brief = house.settings.model_copy(update={"result_ttl": timedelta(seconds=1)})
    async with AsyncProducer(brief, owner="alice") as alice:
        asked = await alice.ask(first, flow="documents", session_id=conversation, wait=20)
        async with asyncio.timeout(30):
            while (await alice.records([asked.query_id]))[0] is not None:
                await asyncio.sleep(0.1)
        with pytest.raises(UnknownQuery):
            await alice.status(asked.query_id)

        await alice.ask(later, flow="documents", session_id=conversation, wait=20)

        assert [each["content"] for each in house.received_one(later)["history"]] == [first, asked.text]
        name = Asker("alice").session_name(conversation)
        for key in (wire.turns_key(name), wire.session_key(name)):
            assert house.client.ttl(key) > _TWO_DAYS


async def test_a_session_is_bounded_in_turns_in_size_and_in_time(house: ProfileHouse) -> None:
    conversation = session()
    small = house.settings.model_copy(update={"session_turns": 3, "session_ttl": timedelta(seconds=90)})
    async with AsyncProducer(small, owner="alice") as alice:
        for number in range(5):
            await alice.ask(fresh(f"Clause {number}?"), flow="documents", session_id=conversation, wait=20)
        long = "ä€😀" * 10_000
        await alice.ask(long, flow="documents", session_id=conversation, wait=20)

        turns = await alice.history(conversation)
        assert len(turns) == 3
        assert len(turns[-1].question.encode()) < 33_000
        assert turns[-1].question.endswith(" […]")
        assert long.startswith(turns[-1].question.removesuffix(" […]"))
        name = Asker("alice").session_name(conversation)
        for key in (wire.turns_key(name), wire.session_key(name)):
            assert 0 < house.client.ttl(key) <= 90
    assert house.client.keys(f"flywheel:*{conversation}*") == house.client.keys(f"flywheel:*{conversation}")
    assert not house.client.exists(wire.line_key(name), wire.waiting_turns_key(name))


async def test_a_session_s_name_says_nothing_to_anybody_else(
    alice: AsyncProducer, bob: AsyncProducer, house: ProfileHouse
) -> None:
    conversation, ttl = session(), house.settings.session_ttl
    first, theirs = fresh("First clause?"), fresh("And then?")
    await alice.ask(first, flow="documents", session_id=conversation, wait=20)
    await use_profile(alice.batch, conversation, "payments", asker=alice.asker, ttl=ttl)

    for other in (bob, alice.acting_for("alice", "bella")):
        for attempt in (
            other.history(conversation),
            other.cancel(session_id=conversation),
            load_session(other.batch, conversation, asker=other.asker),
        ):
            with pytest.raises(UnknownSession):
                await attempt
        assert await list_sessions(other.batch, other.asker) == []
        # The name is free for them, and what they begin under it is another conversation.
        answer = await other.ask(theirs, flow="documents", session_id=conversation, wait=20)
        await configure_session(other.batch, conversation, {"tone": "warm"}, asker=other.asker, ttl=ttl)
        assert [turn.query_id for turn in await other.history(conversation)] == [answer.query_id]
        assert (await load_session(other.batch, conversation, asker=other.asker)).profile is None
    assert [body.get("history") for body in house.received(theirs)] == [None, None]
    kept = await load_session(alice.batch, conversation, asker=alice.asker)
    assert (kept.profile, kept.config, kept.turns) == ("payments", {}, 1)


async def test_a_session_begun_by_its_profile_is_there_and_expires(alice: AsyncProducer, house: ProfileHouse) -> None:
    conversation = session()

    begun = await use_profile(
        alice.batch, conversation, "payments", asker=Asker("alice"), ttl=house.settings.session_ttl
    )

    assert (begun.turns, begun.profile) == (0, "payments")
    assert house.client.ttl(wire.session_key(Asker("alice").session_name(conversation))) > _TWO_DAYS
    assert conversation in [each.session_id for each in await list_sessions(alice.batch, Asker("alice"))]
