"""``flywheel replay report`` and ``diff``, and replays in a test of one's own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from pipeline.house import REGISTRY
from replay.planted import outcome, realistic, result, write

from agentic_flywheel.errors import InvalidEvaluator, InvalidGate
from agentic_flywheel.settings import Settings
from producer.cli import main
from producer.replay.replayed import replay


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


Flywheel = Callable[..., Said]


@pytest.fixture
def flywheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Flywheel:
    """Run a command where no stack runs."""
    monkeypatch.setenv("FLYWHEEL_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["flywheel", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return Said(int(left.value.code or 0), said.out, said.err)

    return run


def test_a_report_is_written_beside_the_results_and_the_gate_is_the_exit_code(
    flywheel: Flywheel, tmp_path: Path
) -> None:
    write(tmp_path / "run" / "results.jsonl", realistic(100, rerouted=[4, 8]))

    passed = flywheel("replay", "report", "run", "--gate", "route_changes<=2%, errors<=1%")
    missed = flywheel("replay", "report", "run", "--gate", "route_changes<2%")

    assert (passed.code, missed.code) == (0, 1)
    assert "The gate passes: 2 conditions met" in passed.out
    assert "✗ route_changes is 2.0 %" in missed.out
    assert {each.name for each in (tmp_path / "run").iterdir()} == {
        "results.jsonl",
        "report.html",
        "summary.json",
        "changes.jsonl",
    }


def test_two_replays_are_compared_and_json_says_everything(flywheel: Flywheel, tmp_path: Path) -> None:
    write(tmp_path / "old" / "results.jsonl", [result(number, outcome()) for number in range(1, 31)])
    new = [result(number, outcome(flow="other" if number == 7 else "document-qa")) for number in range(1, 31)]
    write(tmp_path / "new" / "results.jsonl", new)

    said = flywheel("replay", "diff", "old", "new", "--evaluator", "tells=contains:paris", "--json")

    found = json.loads(said.out)
    assert said.code == 0
    assert (found["against"], found["compared_with"], found["routes"]["changed"]) == ("replay", "old", 1)
    assert found["scores"][0]["label"] == "tells"
    assert (tmp_path / "new" / "against-old" / "report.html").is_file()
    assert found["report"] == str(Path("new/against-old/report.html"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("report", "nowhere"), "there is no results.jsonl"),
        (("report", "run", "--gate", "errors<=many"), "not FIGURE<=LIMIT"),
        (("report", "run", "--evaluator", "nonesuch"), "there is none of this name"),
        (("questions.jsonl", "--gate", "fun<1"), "there is no figure 'fun'"),
        (("questions.jsonl", "--evaluator", "judge"), "needs a flow"),
    ],
)
def test_what_is_not_acceptable_is_refused_before_anything_is_asked(
    flywheel: Flywheel, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    write(tmp_path / "run" / "results.jsonl", [])
    (tmp_path / "questions.jsonl").write_text('{"question": "Why?"}\n')

    refused = flywheel("replay", *arguments)

    assert refused.code == 2
    assert said in refused.err
    assert not (tmp_path / "home").exists()


@pytest.fixture
def nowhere(tmp_path: Path) -> Settings:
    """Settings of a broker that is not there: a dry run needs none."""
    registry = tmp_path / "flow-registry.yaml"
    registry.write_text(REGISTRY)
    return Settings(redis_url="redis://127.0.0.1:1/0", registry=registry, home=tmp_path / "home")


def test_a_replay_is_asserted_in_a_test_of_ones_own(nowhere: Settings, tmp_path: Path) -> None:
    questions = [
        {"question": "How do I connect PostgreSQL to Python?", "expected_domain": "technical"},
        {"question": "Write a poem about the sea", "expected_domain": "technical"},
    ]

    replayed = replay(questions, out=tmp_path / "run", settings=nowhere, dry_run=True)

    assert replayed.gate("errors<=0%, as_expected>=50%")
    missed = replayed.gate("as_expected>90%")
    assert not missed
    assert repr(missed).startswith("✗ as_expected is 50.0 %")
    assert (replayed.folder / "report.html").is_file()
    with pytest.raises(InvalidGate):
        replayed.gate("fun<1")
    with pytest.raises(InvalidEvaluator):
        replay(questions, out=tmp_path / "never", evaluators=["nonesuch"], settings=nowhere)


def test_a_judge_needs_a_stack_that_still_runs(flywheel: Flywheel, tmp_path: Path) -> None:
    (tmp_path / "questions.jsonl").write_text('{"question": "Why?"}\n')

    refused = flywheel("replay", "questions.jsonl", "--local", "--evaluator", "judge:critic")

    assert refused.code == 2
    assert "a judge is asked on the running stack" in " ".join(refused.err.replace("│", " ").split())
