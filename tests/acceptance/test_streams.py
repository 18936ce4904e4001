"""Whatever a command's standard streams are, it says in a sentence what it cannot do, or does it. Needs no broker."""

from __future__ import annotations

import errno
import shlex
import subprocess
from pathlib import Path

import pytest

from acceptance.conftest import COMMAND, environment
from producer.cli import streams

ROUTE = f"{shlex.quote(str(COMMAND))} route"


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    env = environment(folder / "home")
    return subprocess.run(
        ["sh", "-c", line], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("form", ["", "--json"])
def test_a_full_disk_below_the_output_is_named(tmp_path: Path, form: str) -> None:
    ended = shell(f"{ROUTE} {form} 'How do I use a database?' > /dev/full", tmp_path)

    assert ended.returncode == 1
    first, *advice = ended.stderr.splitlines()
    assert first == "✗ The command could not write its output: No space left on device"
    assert advice[0].startswith("  - Make room there")
    assert len(advice) == 3


def test_a_closed_output_is_no_fault(tmp_path: Path) -> None:
    ended = shell(f"{ROUTE} 'How do I use a database?' >&-", tmp_path)

    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_closed_input_is_an_empty_one(tmp_path: Path) -> None:
    ended = shell(f"{ROUTE} - <&-", tmp_path)

    assert ended.returncode == 2
    assert "question: it should have at least 1 character" in ended.stderr


def test_what_else_fails_is_told_as_ever(capsys: pytest.CaptureFixture[str]) -> None:
    assert not streams.could_not_write(PermissionError(errno.EACCES, "Permission denied"))
    assert not streams.could_not_write(FileNotFoundError(errno.ENOENT, "No such file or directory", "a"))
    assert streams.could_not_write(OSError(errno.ENOSPC, "No space left on device", "registry.yaml"))
    assert "could not write registry.yaml: No space left" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "place", "code", "told"),
    [
        ("up", "home", 2, "✗ The setting FLYWHEEL_HOME is not acceptable: "),
        ("demo --exit", "home", 2, "✗ The setting FLYWHEEL_HOME is not acceptable: "),
        ("profiles new shop", ".agentic_flywheel", 1, "✗ The command could not use "),
    ],
)
def test_a_place_where_nothing_can_be_written_is_named(
    tmp_path: Path, command: str, place: str, code: int, told: str
) -> None:
    (tmp_path / place).write_text("a file where a folder should be")
    ended = shell(f"{shlex.quote(str(COMMAND))} {command}", tmp_path)

    assert ended.returncode == code
    first, *advice = ended.stderr.splitlines()
    assert first.startswith(told)
    assert place in first
    assert len(advice) == 3
