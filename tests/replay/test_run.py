"""Replays on running workers: what is asked, in which order, and how often."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pipeline.house import APPROVAL, REGISTRY, STUBBORN, TECHNICAL, House
from replay.asked import by_number, calls, every, python_question

from agentic_flywheel.asker import Asker
from agentic_flywheel.broker import wire
from agentic_flywheel.broker.control import pause, resume
from agentic_flywheel.errors import InvalidRegistry, UnusableSource
from agentic_flywheel.models import State
from agentic_flywheel.settings import Settings
from producer import AsyncProducer
from producer.replay import Replay, ReplayItem
from producer.replay.sources import Source
from producer.replay.wanted import Wanted


async def test_a_result_tells_the_route_the_answer_and_what_they_took(house: House, tmp_path: Path) -> None:
    replay = Replay([python_question(1, metadata={"team": "red"})], out=tmp_path / "run", settings=house.settings)

    (result,) = await every(replay)

    outcome = result.outcome
    assert (outcome.state, outcome.flow_keys, outcome.domains) == ("succeeded", ("technical-analysis",), ("technical",))
    assert outcome.text
    assert outcome.confidence is not None
    assert outcome.band is not None
    assert outcome.latency_ms is not None
    assert outcome.flow_ms is not None
    assert outcome.latency_ms >= outcome.flow_ms > 0
    assert result.query_id == outcome.query_id == result.trace_id
    assert (result.calls, result.attempts) == (1, 1)
    assert replay.ending == "complete"
    assert (tmp_path / "run" / "results.jsonl").read_text() == result.written() + "\n"
    # What is on disk is not kept in the broker as well.
    assert house.client.zcard("flywheel:owned:replay") == 0
    assert not house.client.exists(f"celery-task-meta-{result.query_id}")


async def test_the_turns_of_a_session_are_asked_one_after_another_and_never_in_the_live_session(
    house: House, tmp_path: Path
) -> None:
    async with AsyncProducer(house.settings) as producer:
        await producer.ask("Why is the docker build slow?", session_id="live-1", wait=20)
        given = [python_question(number, session_id=f"live-{number % 3}") for number in range(30)]

        results = await every(Replay(given, out=tmp_path / "run", settings=house.settings, concurrency=8))

        assert len(await producer.history("live-1")) == 1
    for name in ("live-0", "live-1", "live-2"):
        turns = [result for result in results if result.item.session_id == name]
        assert [turn.item.number for turn in turns] == sorted(turn.item.number for turn in turns)
        assert len({turn.session_id for turn in turns}) == 1
        assert turns[0].session_id not in (None, name)
        assert all(before.ended <= after.started for before, after in pairwise(turns))
        kept = Asker("replay").session_name(turns[0].session_id or "")
        assert house.client.llen(wire.turns_key(kept)) == len(turns)


async def test_nobody_is_asked_for_a_replay_a_question_whose_flow_stops_has_failed(
    house: House, tmp_path: Path
) -> None:
    house.build(APPROVAL, style="approval")
    given = [python_question(1, flow="approval"), python_question(2)]

    stopped, answered = by_number(await every(Replay(given, out=tmp_path / "run", settings=house.settings)))

    assert (stopped.outcome.state, stopped.outcome.error_type) == (State.FAILED, "InputRequired")
    assert stopped.outcome.stopped
    assert (answered.outcome.state, answered.outcome.stopped) == (State.SUCCEEDED, False)
    assert house.client.zcard(wire.ASKED) == 0


async def test_a_faulty_line_is_left_out_or_refuses_all(house: House, tmp_path: Path) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_text(f"{json.dumps(python_question(1))}\n{{bad\n{json.dumps(python_question(3))}\n")

    results = await every(Replay(file, out=tmp_path / "run", settings=house.settings))
    with pytest.raises(UnusableSource, match="line 2: it is not JSON"):
        await every(Replay(file, out=tmp_path / "strict", settings=house.settings, strict=True))

    assert [result.item.number for result in by_number(results)] == [1, 3]
    assert json.loads((tmp_path / "run" / "problems.jsonl").read_text())["number"] == 2
    assert calls(house)["total"] == 2
    assert not (tmp_path / "strict").exists()


async def test_a_question_that_is_refused_is_a_result_and_stops_no_other(house: House, tmp_path: Path) -> None:
    given = [python_question(1, flow="no-such-flow"), python_question(2)]

    refused, answered = by_number(await every(Replay(given, out=tmp_path / "run", settings=house.settings)))

    assert (refused.outcome.state, refused.outcome.error_type, refused.query_id) == ("failed", "UnknownFlow", "")
    assert answered.outcome.state == State.SUCCEEDED


async def test_no_more_is_asked_than_calls_are_allowed_until_more_are(house: House, tmp_path: Path) -> None:
    given = [python_question(number) for number in range(12)]
    replay = Replay(given, out=tmp_path / "run", settings=house.settings, max_calls=5)

    first = await every(replay)
    stopped_at = calls(house)["total"]
    resumed = Replay.resume(tmp_path / "run", settings=house.settings, max_calls=100)
    rest = await every(resumed)

    assert (len(first), stopped_at, replay.ending) == (5, 5, "calls")
    assert (len(rest), calls(house)["total"], resumed.ending) == (7, 12, "complete")
    assert resumed.progress is not None
    assert (resumed.progress.done, resumed.progress.before) == (12, 5)


async def test_the_rate_is_kept_and_so_is_the_limit_at_once(house: House, tmp_path: Path) -> None:
    house.behave(TECHNICAL, latency=0.05)
    given = [python_question(number) for number in range(15)]

    results = await every(Replay(given, out=tmp_path / "run", settings=house.settings, rate=40, concurrency=2))

    starts = sorted(result.started for result in results)
    assert (starts[-1] - starts[0]).total_seconds() >= 13 / 40
    moments = sorted([(each.started, 1) for each in results] + [(each.ended, -1) for each in results])
    at_once = [sum(step for _, step in moments[: index + 1]) for index in range(len(moments))]
    assert max(at_once) <= 2


async def test_cache_policies_read_fill_or_leave_the_cache(house: House, tmp_path: Path) -> None:
    given = [python_question(1)]

    async def asked(cache: str) -> tuple[bool, int]:
        replay = Replay(given, out=tmp_path / f"{cache}{time.monotonic_ns()}", settings=house.settings, cache=cache)
        (result,) = await every(replay)
        return result.outcome.cached, result.calls

    assert [await asked(cache) for cache in ("bypass", "bypass", "refresh", "use", "refresh")] == [
        (False, 1),
        (False, 1),
        (False, 1),
        (True, 0),
        (False, 1),
    ]


async def test_a_deadline_ends_what_takes_too_long(house: House, tmp_path: Path) -> None:
    house.behave(TECHNICAL, latency=5)

    (result,) = await every(Replay([python_question(1)], out=tmp_path / "run", settings=house.settings, timeout=0.3))

    assert (result.outcome.state, result.outcome.error_type) == ("expired", "DeadlineExceeded")


async def test_a_dry_run_says_where_questions_go_and_needs_neither_broker_nor_flow(
    nowhere: Settings, tmp_path: Path
) -> None:
    given: list[str | dict[str, Any]] = [
        "How do I connect PostgreSQL to Python?",
        {"question": "Write a poem about the sea", "session_id": "s"},
        {"question": "And one more verse", "session_id": "s"},
        {"question": "whatever", "flow": "no-such-flow"},
    ]

    results = by_number(await every(Replay(given, out=tmp_path / "run", settings=nowhere, dry_run=True)))

    assert [(each.outcome.state, each.outcome.domains) for each in results] == [
        ("classified", ("technical",)),
        ("classified", ("creative",)),
        ("classified", ("creative",)),
        ("failed", ()),
    ]
    assert all(each.query_id == "" and each.calls == 0 for each in results)


async def test_a_changed_registry_shows_exactly_the_planted_route_changes(nowhere: Settings, tmp_path: Path) -> None:
    given = [
        "How do I connect PostgreSQL to Python?",
        "Which index does this join need?",
        "Write a poem about the sea",
        "What does the contract say about notice?",
        "Which clause covers liability?",
        "Summarise this PDF",
    ]
    await every(Replay(given, out=tmp_path / "before", settings=nowhere, dry_run=True))
    assert nowhere.registry is not None
    moved = "Which clause covers liability?"
    changed = REGISTRY.replace(f", {moved}, Summarise", ", Summarise").replace("clause, pdf", "pdf")
    changed = changed.replace("examples: [Write a poem", f"examples: [{moved}, Write a poem")
    nowhere.registry.write_text(changed.replace("[poem, story", "[poem, clause, liability, story"))

    results = await every(Replay(str(tmp_path / "before"), out=tmp_path / "after", settings=nowhere, dry_run=True))

    changes = {
        each.item.question: (each.item.baseline.flow_keys, each.outcome.flow_keys)
        for each in results
        if each.item.baseline is not None and each.item.baseline.flow_keys != each.outcome.flow_keys
    }
    assert changes == {moved: (("document-qa",), ("creative-orientation",))}


async def test_a_faulty_registry_stops_a_replay_before_the_first_question(house: House, tmp_path: Path) -> None:
    faulty = tmp_path / "flow-registry.yaml"
    faulty.write_text("operational_flows: [")
    settings = house.settings.model_copy(update={"registry": faulty})

    for dry_run in (True, False):
        with pytest.raises(InvalidRegistry):
            await every(Replay(["Why?"], out=tmp_path / f"run-{dry_run}", settings=settings, dry_run=dry_run))


async def test_our_own_records_are_replayed_as_they_were_filtered(house: House, tmp_path: Path) -> None:
    house.client.flushdb()
    house.behave(STUBBORN, fault="unauthorized")
    async with AsyncProducer(house.settings, owner="ann") as ann, AsyncProducer(house.settings, owner="bob") as bob:
        good = await ann.ask("How do I profile Python code?", wait=20)
        poor = await ann.ask("Which index does my database need?", wait=20)
        await bob.ask("Write a poem about winter", wait=20, session_id="s")
        failed = await bob.submit("Try this", flow="stubborn")
        await asyncio.wait([asyncio.ensure_future(bob.wait(failed.query_id, 20))])
        await ann.score(good.query_id, 9)
        await ann.score(poor.query_id, 3)
        await every(Replay(["Asked by a replay"], out=tmp_path / "noise", settings=house.settings))

    async def read(**wanted: Any) -> list[ReplayItem]:
        name = "-".join(map(str, wanted.values())) or "all"
        source = Source("records", wanted=Wanted(**wanted))
        replay = Replay(source, out=tmp_path / name.replace("/", "_"), settings=house.settings, dry_run=True)
        return [result.item for result in by_number(await every(replay))]

    assert [each.question.split()[0] for each in await read()] == ["How", "Which", "Write", "Try"]
    (technical, _) = await read(domain="technical")
    assert technical.baseline is not None
    assert (technical.baseline.text, technical.baseline.score) == (good.text, 9.0)
    (rated,) = await read(score_below=6)
    assert rated.question == "Which index does my database need?"
    (stubborn,) = await read(state=State.FAILED)
    assert stubborn.baseline is not None
    assert stubborn.baseline.error_type == "FlowUnauthorized"
    assert len(await read(user="bob")) == 2
    assert len(await read(sample=3)) == 3
    with pytest.raises(UnusableSource, match="there is no question in it"):
        await read(domain="nowhere")


async def test_dead_letters_are_asked_again_as_their_user_and_leave_the_list_when_that_has_ended(
    house: House, tmp_path: Path
) -> None:
    house.client.flushdb()
    house.behave(STUBBORN, fault="unauthorized")
    async with AsyncProducer(house.settings, owner="ann") as ann:
        submitted = await ann.submit("Try this", flow="stubborn", session_id="talk", context="A bakery.")
        other = await ann.submit("Try that", flow="stubborn")
        for each in (submitted, other):
            await asyncio.wait([asyncio.ensure_future(ann.wait(each.query_id, 20))])
        house.behave(STUBBORN)
        wanted = Wanted(query_ids=frozenset([submitted.query_id]), error_type="FlowUnauthorized")

        source = Source("dead-letters", wanted=wanted)
        (result,) = await every(Replay(source, out=tmp_path / "run", settings=house.settings, redrive=True))

        record = await ann.status(result.query_id)
        assert (record.owner, record.state) == ("ann", State.SUCCEEDED)
        assert record.query.metadata == {"redrive_of": submitted.query_id}
        assert record.query.context == "A bakery."
        assert [turn.query_id for turn in await ann.history("talk")] == [result.query_id]
    assert house.client.zrange("flywheel:dead", 0, -1) == [other.query_id]


async def test_a_letter_that_two_ask_again_at_once_is_asked_once(house: House, tmp_path: Path) -> None:
    house.client.flushdb()
    house.behave(STUBBORN, fault="unauthorized")
    question = f"Try this {uuid.uuid4().hex}"
    async with AsyncProducer(house.settings) as producer:
        submitted = await producer.submit(question, flow="stubborn")
        await asyncio.wait([asyncio.ensure_future(producer.wait(submitted.query_id, 20))])
    house.behave(STUBBORN, latency=0.2)
    asked = house.calls(question)
    source = Source("dead-letters")
    retries = [Replay(source, out=tmp_path / each, settings=house.settings, redrive=True) for each in "ab"]
    (first,), (second,) = await asyncio.gather(*map(every, retries))

    assert first.query_id == second.query_id
    assert (first.outcome.state, second.outcome.state) == (State.SUCCEEDED, State.SUCCEEDED)
    assert house.calls(question) == asked + 1
    assert house.client.zcard("flywheel:dead") == 0


async def test_a_retry_that_was_cancelled_can_be_given_again(house: House, tmp_path: Path) -> None:
    house.client.flushdb()
    house.behave(STUBBORN, fault="unauthorized")
    async with AsyncProducer(house.settings) as producer:
        submitted = await producer.submit("Try this", flow="stubborn")
        await asyncio.wait([asyncio.ensure_future(producer.wait(submitted.query_id, 20))])
        house.behave(STUBBORN)
        await pause(producer.batch, flow="stubborn")
        source = Source("dead-letters")
        retried = asyncio.create_task(every(Replay(source, out=tmp_path / "a", settings=house.settings, redrive=True)))
        async with asyncio.timeout(20):
            while not (waiting := [each for each in await producer.recent() if each.state == State.WAITING]):
                await asyncio.sleep(0.05)
        await producer.cancel(waiting[0].query_id)
        (cancelled,) = await retried
        await resume(producer.batch, flow="stubborn")

        (again,) = await every(Replay(source, out=tmp_path / "b", settings=house.settings, redrive=True))

    assert (cancelled.outcome.state, again.outcome.state) == (State.CANCELLED, State.SUCCEEDED)
    assert again.query_id != cancelled.query_id


async def test_a_letter_whose_result_is_on_disk_leaves_the_list_also_after_a_crash(
    house: House, tmp_path: Path
) -> None:
    house.client.flushdb()
    house.behave(STUBBORN, fault="unauthorized")
    async with AsyncProducer(house.settings) as producer:
        submitted = await producer.submit("Try this", flow="stubborn")
        await asyncio.wait([asyncio.ensure_future(producer.wait(submitted.query_id, 20))])
    letter = house.client.get(f"flywheel:letter:{submitted.query_id}")
    assert letter is not None
    house.behave(STUBBORN)
    given = Source("dead-letters")
    await every(Replay(given, out=tmp_path / "run", settings=house.settings, redrive=True))
    # As if the process had died between the disk and the broker.
    house.client.set(f"flywheel:letter:{submitted.query_id}", letter)
    house.client.zadd("flywheel:dead", {submitted.query_id: 1})

    await every(Replay.resume(tmp_path / "run", settings=house.settings))

    assert house.client.zcard("flywheel:dead") == 0
    assert len((tmp_path / "run" / "results.jsonl").read_text().splitlines()) == 1
