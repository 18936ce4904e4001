"""What a process that serves takes at its start, so that it does not fail of it under way."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentic_flywheel.broker import declaration, starting
from agentic_flywheel.broker.declaration import Script
from agentic_flywheel.settings import Settings
from workers import __main__ as worker

FILES = resource.RLIMIT_NOFILE


@pytest.fixture
def few_files() -> Iterator[tuple[int, int]]:
    """Half of the open files that this process may have."""
    before = resource.getrlimit(FILES)
    resource.setrlimit(FILES, (1000, before[1]))
    yield before
    resource.setrlimit(FILES, before)


def test_as_many_files_are_taken_as_the_system_gives(few_files: tuple[int, int]) -> None:
    """systemd and most shells give 1,024 at first: a gateway would stop to accept connections there."""
    said: list[str] = []
    starting.prepare(Settings(), said.append)

    assert resource.getrlimit(FILES) == (min(few_files[1], 65_536), few_files[1])
    assert said == []


@pytest.mark.usefixtures("few_files")
def test_few_open_files_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 64))
    said: list[str] = []
    starting.prepare(Settings(), said.append)

    assert said == ["This process may open 64 files and connections at once; allow it 1,024 (ulimit -n)"]


def test_no_script_is_read_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """An update of the package in place would give its scripts to the code of before."""
    script = Script("finish")
    starting.prepare(Settings(), lambda _: None)
    monkeypatch.setattr(declaration, "lua_text", None)

    assert "HSET" in script.source


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--name", "a@b", "is no name"),
        ("--name", "%h", "is no name"),
        ("--name", "two\nlines", "is no name"),
        ("--name", "", "is no name"),
        ("--ready-file", "{folder}", "is no regular file"),
        ("--ready-file", "{folder}/none/ready", "its folder is missing"),
        ("--queue", "classify", "unrecognized arguments"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(
    option: str,
    value: str,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["worker", option, value.format(folder=tmp_path)])
    with pytest.raises(SystemExit) as ended:
        worker.main()

    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_a_queue_to_which_nothing_comes_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is allowed: another Celery client may fill it."""
    monkeypatch.setattr(sys, "argv", ["worker", "--queues", "classify, nope"])
    monkeypatch.setenv("FLOWISE_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("FLYWHEEL_TRACE_MASK", "none:such")  # it ends before it looks at a broker

    assert worker.main() == 2
    assert capsys.readouterr().err.startswith(
        "No query of ours comes to nope: the queues are classify, domain.creative"
    )
