"""Replays on running workers: what is asked, in which order, how often, and what survives a crash."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pipeline.house import REGISTRY, STUBBORN, TECHNICAL, House
from processes import wait_for

from agentic_flywheel.errors import InvalidRegistry, UnusableReplay, UnusableSource
from agentic_flywheel.models import State
from agentic_flywheel.settings import Settings
from producer import AsyncProducer
from producer.replay.items import ReplayItem
from producer.replay.program import Replay
from producer.replay.results import ItemResult
from producer.replay.sources import Source
from producer.replay.wanted import Wanted
from producer.stack import running_stack

COMMAND = str(Path(sys.executable).parent / "flywheel")


async def every(replay: Replay) -> list[ItemResult]:
    return [result async for result in replay]


def python_question(number: int, **more: Any) -> dict[str, Any]:
    return {"question": f"How do I connect database number {number} to Python?", "id": f"q{number}", **more}


def calls(house: House) -> dict[str, Any]:
    with urllib.request.urlopen(f"{house.flowise_url}/sandbox/calls", timeout=10) as response:
        found: dict[str, Any] = json.load(response)
        return found


def by_number(results: Sequence[ItemResult]) -> list[ItemResult]:
    return sorted(results, key=lambda result: result.item.number)


@pytest.fixture
def nowhere(tmp_path: Path) -> Settings:
    """Settings of a broker that is not there, and a registry of telling flows."""
    registry = tmp_path / "flow-registry.yaml"
    registry.write_text(REGISTRY)
    return Settings(redis_url="redis://127.0.0.1:1/0", registry=registry, home=tmp_path / "home")


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
        assert house.client.llen(f"flywheel:turns:{turns[0].session_id}") == len(turns)


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
    assert answered.outcome.state == "succeeded"


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
    given = [
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
        submitted = await ann.submit("Try this", flow="stubborn", session_id="talk")
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
        assert [turn.query_id for turn in await ann.history("talk")] == [result.query_id]
    assert house.client.zrange("flywheel:dead", 0, -1) == [other.query_id]


async def test_a_letter_whose_result_is_on_disk_leaves_the_list_also_after_a_crash(
    house: House, tmp_path: Path
) -> None:
    house.client.flushdb()
    house.behave(STUBBORN, fault="unauthorized")
    async with AsyncProducer(house.settings) as producer:
        submitted = await producer.submit("Try this", flow="stubborn")
        await asyncio.wait([asyncio.ensure_future(producer.wait(submitted.query_id, 20))])
    letter = house.client.get(f"flywheel:letter:{submitted.query_id}")
    house.behave(STUBBORN)
    given = Source("dead-letters")
    await every(Replay(given, out=tmp_path / "run", settings=house.settings, redrive=True))
    # As if the process had died between the disk and the broker.
    house.client.set(f"flywheel:letter:{submitted.query_id}", letter)
    house.client.zadd("flywheel:dead", {submitted.query_id: 1})

    await every(Replay.resume(tmp_path / "run", settings=house.settings))

    assert house.client.zcard("flywheel:dead") == 0
    assert len((tmp_path / "run" / "results.jsonl").read_text().splitlines()) == 1


class Command:
    """``flywheel replay`` as a process beside the house."""

    def __init__(self, house: House, folder: Path) -> None:
        self.out = folder / "run"
        self._env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("LANGFUSE_")},
            "REDIS_URL": house.broker.url,
            "FLOWISE_BASE_URL": house.flowise_url,
            "FLYWHEEL_REGISTRY": str(house.registry),
            "FLYWHEEL_HOME": str(folder / "home"),
        }
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str, stdin: str = "") -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [COMMAND, "replay", *arguments],
            env=self._env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        if stdin:
            assert process.stdin is not None
            process.stdin.write(stdin)
            process.stdin.flush()
        if process.stdin is not None:
            process.stdin.close()
            process.stdin = None
        return process

    def results(self) -> list[ItemResult]:
        file = self.out / "results.jsonl"
        whole = file.read_bytes().split(b"\n")[:-1] if file.exists() else []
        return [ItemResult.model_validate_json(line) for line in whole]

    def until(self, count: int, process: subprocess.Popen[str]) -> None:
        wait_for(lambda: len(self.results()) >= count or process.poll() is not None, within=60, what=f"{count} results")

    def stop(self) -> None:
        for process in self._started:
            process.kill()
            process.communicate()


@pytest.fixture
def command(house: House, tmp_path: Path) -> Iterator[Command]:
    started = Command(house, tmp_path)
    yield started
    started.stop()


def test_a_replay_that_is_killed_twice_ends_with_every_result_once_and_no_flow_called_twice(
    house: House, command: Command, tmp_path: Path
) -> None:
    house.behave(latency=0.05)
    file = tmp_path / "questions.jsonl"
    given = [
        python_question(number, **({"session_id": f"s{number % 8}"} if number % 4 else {})) for number in range(200)
    ]
    file.write_text("".join(json.dumps(each) + "\n" for each in given))

    process = command.start(str(file), "--out", str(command.out), "--concurrency", "16")
    for part in (50, 100):
        command.until(part, process)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        process = command.start("--resume", str(command.out), "--json")
    command.until(150, process)
    house.broker.kill()
    house.broker.start()
    said, complaint = process.communicate(timeout=60)

    results = command.results()
    assert process.returncode == 0, complaint
    assert json.loads(said.splitlines()[0])["ending"] == "complete"
    assert [result.item.number for result in by_number(results)] == list(range(1, 201))
    assert {result.outcome.state for result in results} == {"succeeded"}
    counted = calls(house)
    assert (counted["total"], counted["repeated"]) == (200, 0)
    for name in {each.get("session_id") for each in given} - {None}:
        turns = [result for result in results if result.item.session_id == name]
        assert [turn.item.number for turn in turns] == sorted(turn.item.number for turn in turns)
        assert all(before.ended <= after.started for before, after in pairwise(turns))


def test_an_interrupted_replay_says_how_to_go_on_and_goes_on(house: House, command: Command, tmp_path: Path) -> None:
    file = tmp_path / "questions.csv"
    file.write_text("question\n" + "".join(f"How do I tune database {number} in Python?\n" for number in range(40)))

    process = command.start(str(file), "--out", str(command.out), "--rate", "30")
    command.until(5, process)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    stopped_at = len(command.results())
    other = command.start("--resume", str(command.out), "--rate", "1000")
    ended, complaint = other.communicate(timeout=60)

    assert process.returncode == 5
    assert f"Go on: flywheel replay --resume {command.out}" in said
    assert 5 <= stopped_at < 40
    assert other.returncode == 0, complaint
    assert "40 of 40 asked, 0 failed, 40 calls of flows" in ended
    assert (len(command.results()), calls(house)["repeated"]) == (40, 0)


def test_a_private_stack_is_started_and_stopped_by_the_replay(house: House, command: Command, tmp_path: Path) -> None:
    process = command.start("-", "--out", str(command.out), "--local", "--json", stdin='{"question": "Why?"}\n')
    said, complaint = process.communicate(timeout=90)

    assert process.returncode == 0, complaint
    assert json.loads(said.splitlines()[0])["done"] == 1
    assert calls(house)["total"] == 1
    # Its broker was another one, and nothing of it runs any more.
    assert not house.client.exists(f"flywheel:query:{command.results()[0].query_id}")
    assert running_stack(command.out / "stack") is None


async def test_what_a_crash_left_half_written_is_cut_off(house: House, tmp_path: Path) -> None:
    given = [python_question(number) for number in range(4)]
    await every(Replay(given, out=tmp_path / "run", settings=house.settings))
    file = tmp_path / "run" / "results.jsonl"
    whole = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(whole[:3]) + whole[3][: len(whole[3]) // 2])

    again = await every(Replay.resume(tmp_path / "run", settings=house.settings))

    assert len(again) == 1
    assert sorted(ItemResult.model_validate_json(line).item.number for line in file.open("rb")) == [1, 2, 3, 4]


async def test_a_folder_is_worked_on_by_one_process_and_holds_one_replay(house: House, tmp_path: Path) -> None:
    replay = Replay([python_question(1), python_question(2)], out=tmp_path / "run", settings=house.settings)

    async for _ in replay:
        with pytest.raises(UnusableReplay, match="another process works on it"):
            await every(Replay.resume(tmp_path / "run", settings=house.settings))
    with pytest.raises(UnusableReplay, match="there is a replay in it already"):
        await every(Replay(["Why?"], out=tmp_path / "run", settings=house.settings))
    with pytest.raises(UnusableReplay, match=r"no replay\.json"):
        await every(Replay.resume(tmp_path / "nothing", settings=house.settings))


async def test_a_folder_whose_questions_were_not_read_to_their_end_is_begun_anew(
    nowhere: Settings, tmp_path: Path
) -> None:
    def broken() -> Iterator[str]:
        yield "How do I connect PostgreSQL to Python?"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await every(Replay(broken(), out=tmp_path / "run", settings=nowhere, dry_run=True))
    with pytest.raises(UnusableReplay, match="begin it anew"):
        await every(Replay.resume(tmp_path / "run", settings=nowhere))

    (result,) = await every(Replay(["Why?"], out=tmp_path / "run", settings=nowhere, dry_run=True))
    assert result.item.question == "Why?"
