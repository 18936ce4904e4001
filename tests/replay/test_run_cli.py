"""``flywheel replay`` as a person sees it: the display, what it says at the end, and what it refuses."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest

from agentic_flywheel.installation import install_command
from producer.cli import main
from producer.cli.replay_display import line_of
from producer.replay.items import ReplayItem
from producer.replay.progress import Progress
from producer.replay.recorded import Recorded
from producer.replay.results import ItemResult

COMMAND = str(Path(sys.executable).parent / "flywheel")
QUESTIONS = '{"question": "How do I connect PostgreSQL to Python?"}\n{"question": "Write a poem about the sea"}\n{bad\n'


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder and an environment without any stack, settings or registry; returns the folder."""
    for name in [name for name in os.environ if name.startswith(("FLYWHEEL_", "LANGFUSE_", "REDIS_", "FLOWISE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FLYWHEEL_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "questions.jsonl").write_text(QUESTIONS)
    return tmp_path


def flywheel(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["flywheel", *arguments])
    monkeypatch.setattr(sys, "stdin", StringIO())
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main()
    said = capsys.readouterr()
    return int(left.value.code or 0), said.out, said.err


def result(number: int, **outcome: object) -> ItemResult:
    now = datetime.now(UTC)
    item = ReplayItem(number=number, id=str(number), question="q")
    return ItemResult(item=item, outcome=Recorded.model_validate(outcome), started=now, ended=now, calls=1)


def test_progress_counts_results_of_this_process_and_of_earlier_ones() -> None:
    progress = Progress(1200)
    for number in range(1, 1001):
        progress.found(json.loads(result(number, domains=["technical"]).written()))
    progress.add(result(1001, domains=["creative", "technical"], cached=True))
    progress.add(result(1002, state="failed", error_type="FlowTimeout", domains=["[red]x"]))
    progress.add(result(1003, state="classified"))

    assert (progress.done, progress.before, progress.failed, progress.cached) == (1003, 1000, 1, 1)
    assert progress.calls == 1003
    assert progress.failures == {"FlowTimeout": 1}
    line = line_of(progress)
    assert line.startswith("1,003 of 1,200, 1 failed, ")
    assert line.endswith("technical 1,000, creative + technical 1, [red]x 1, (none) 1")


def test_without_a_terminal_it_says_what_came_of_it_and_where(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said, aside = flywheel(
        monkeypatch, capsys, "replay", "questions.jsonl", "--dry-run", "--no-report", "--out", "run"
    )

    assert code == 0, aside
    assert "2 of 3 classified, 1 could not be, 0 failed\nresults  run/results.jsonl\n" in said
    assert "1 line could not be asked:\n  line 3: it is not JSON" in aside
    assert len(Path("run/results.jsonl").read_text().splitlines()) == 2


def test_what_was_assumed_of_a_file_is_told_beside_the_results(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("fragen.csv").write_bytes('id;question\n1;Schreib ein Gedicht für Zoë\n2;"offen\n3;Wie?\n'.encode("cp1252"))
    arguments = ("replay", "fragen.csv", "--dry-run", "--no-report", "--out")
    assumed = [
        "fragen.csv is not UTF-8 (first in line 2); read as windows-1252, which fits its words best",
        "fragen.csv has a semicolon between its columns",
    ]

    _, said, aside = flywheel(monkeypatch, capsys, *arguments, "run")
    _, as_json, nothing = flywheel(monkeypatch, capsys, *arguments, "run-2", "--json")

    assert "2 of 3 classified, 1 could not be, 0 failed" in said
    assert aside.splitlines()[:2] == assumed
    assert (json.loads(as_json)["notes"], json.loads(as_json)["problems"]) == (assumed, 1)
    assert nothing.splitlines()[:2] == assumed


def test_ids_that_several_questions_have_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("q.csv").write_text("id,question\n1,How?\n2,Why?\n3,So?\n2,And?\n3,But?\n2,Or?\n")

    _, said, aside = flywheel(monkeypatch, capsys, "replay", "q.csv", "--dry-run", "--no-report", "--out", "run")

    assert "6 of 6 classified" in said
    assert aside.splitlines()[0] == (
        "q.csv gives 2 ids to several questions (numbers 3, 5, 7): `diff` tells them apart by their numbers alone"
    )


def test_the_column_of_the_questions_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("q.csv").write_text("id,Frage\n1,Schreib ein Gedicht\n")
    arguments = ("replay", "q.csv", "--dry-run", "--no-report")

    told = flywheel(monkeypatch, capsys, *arguments, "--column", "frage", "--out", "run")
    untold = flywheel(monkeypatch, capsys, *arguments, "--out", "run-2")

    assert "1 of 1 classified" in told[1]
    assert "no column 'question' but id, Frage; name the one that holds the questions: `--column NAME`" in untold[2]


def test_a_file_is_read_in_the_encoding_that_is_told_and_nothing_else_takes_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("q.csv").write_bytes("id,question\n1,鏝\n".encode("shift_jis"))
    arguments = ("--dry-run", "--no-report", "--encoding", "shift_jis")

    told = flywheel(monkeypatch, capsys, "replay", "q.csv", *arguments, "--out", "run")
    piped = subprocess.run(
        [COMMAND, "replay", "-", *arguments, "--out", "run-2"],
        input=Path("q.csv").read_bytes(),
        capture_output=True,
        check=True,
    )
    untold = flywheel(monkeypatch, capsys, "replay", "q.csv", "--dry-run", "--out", "run-3")
    wrong = flywheel(monkeypatch, capsys, "replay", "q.csv", "--dry-run", "--encoding", "klingon", "--out", "run-4")
    records = flywheel(monkeypatch, capsys, "replay", "records", *arguments)

    assert "1 of 1 classified, 0 failed" in told[1], told[2]
    assert "1 of 1 classified, 0 failed" in piped.stdout.decode()
    assert (untold[0], wrong[0], records[0]) == (2, 2, 2)
    assert "from line 2 on it is no text in any encoding that is known here" in untold[2]
    assert "there is no encoding 'klingon'" in wrong[2]
    assert "--encoding and --column go for a file and stdin" in records[2]


def test_a_source_that_needs_a_package_says_which(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("q.jsonl").write_bytes(b"\x28\xb5\x2f\xfd")
    monkeypatch.setitem(sys.modules, "backports.zstd", None)
    monkeypatch.setitem(sys.modules, "compression.zstd", None)

    code, _, aside = flywheel(monkeypatch, capsys, "replay", "q.jsonl", "--dry-run", "--out", "run")

    assert code == 2
    assert "needs the package backports.zstd, and it is not installed" in aside
    assert install_command("zstd") in aside


def test_json_is_one_object_with_the_figures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said, _ = flywheel(
        monkeypatch,
        capsys,
        "replay",
        "questions.jsonl",
        "--dry-run",
        "--out",
        "run",
        "--json",
        "--sample",
        "1",
        "--no-report",
    )

    (found,) = [json.loads(line) for line in said.splitlines()]
    assert code == 0
    assert found.keys() >= {"folder", "run_id", "ending", "items", "done", "failed", "calls", "problems", "domains"}
    assert (found["ending"], found["items"], found["done"], found["problems"]) == ("complete", 1, 1, 1)


def test_on_a_terminal_a_bar_shows_how_it_goes_and_stdout_stays_clean(apart: Path) -> None:
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [COMMAND, "replay", "questions.jsonl", "--dry-run", "--no-report", "--out", "run", "--json"],
        cwd=apart,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=follower,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"},
        text=True,
    ) as process:
        os.close(follower)
        drawn = b""
        # The other end is closed with an error, and is full after 4 kB.
        with suppress(OSError):
            while read := os.read(leader, 4096):
                drawn += read
        said, _ = process.communicate(timeout=60)
    os.close(leader)

    assert process.returncode == 0
    assert json.loads(said)["done"] == 2
    assert "━" in drawn.decode()
    assert "2 of 2   " in drawn.decode().replace("\x1b[1m", "").replace("\x1b[0m", "")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "Usage"),
        (("--json",), "give a SOURCE, or --resume DIR"),
        (("questions.jsonl", "--cache", "never"), "'never' is no cache policy"),
        (("questions.jsonl", "--domain", "technical"), "can be filtered"),
        (("questions.jsonl", "--resume", "run"), "--resume takes no SOURCE"),
        (("--resume", "run", "--cache", "use"), "stay as they were"),
        (("--resume", "run"), "there is no replay.json in it"),
        (("nothing.jsonl", "--local"), "No such file"),
        (("questions.jsonl", "--strict", "--dry-run"), "line 3: it is not JSON"),
        (("dataset:faq", "--dry-run"), "LANGFUSE_PUBLIC_KEY"),
        (("questions.jsonl", "--dry-run", "--rate", "0"), "0.001"),
        (("questions.jsonl",), "broker"),
    ],
)
def test_what_cannot_be_done_is_said_and_leaves_no_folder(
    arguments: tuple[str, ...],
    complaint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")

    code, said, aside = flywheel(monkeypatch, capsys, "replay", *arguments)

    assert code == (3 if complaint == "broker" else 0 if complaint == "Usage" and not aside else 2)
    assert complaint in said + aside
    assert not list(Path("home/replays").glob("*"))
