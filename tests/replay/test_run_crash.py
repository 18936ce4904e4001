"""Replays that are killed, interrupted and resumed: every result once, and nothing asked again that has an answer."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from closing import BROKER_AWAY
from pipeline.house import House
from replay.asked import Command, by_number, calls, every, python_question

from agentic_flywheel.errors import UnusableReplay
from agentic_flywheel.settings import Settings
from agentic_flywheel.stack import running_stack
from producer.replay import ItemResult, Replay


@pytest.mark.provokes(BROKER_AWAY)
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


async def test_a_replay_on_a_private_stack_is_given_what_starts_one(nowhere: Settings, tmp_path: Path) -> None:
    with pytest.raises(UnusableReplay, match=r"nothing was given that starts one.*private_stack"):
        await every(Replay(["Why?"], out=tmp_path / "run", settings=nowhere, local=True))
    assert not (tmp_path / "run").exists()


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
