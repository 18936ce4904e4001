"""run.py on machines that lack something, with a stand-in for uv that notes what it is asked to do."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from processes import REPOSITORY, wait_for

RUN = REPOSITORY / "run.py"

UV = """#!/bin/sh
echo "$1 $2" >> "$NOTES"
[ "$1" = venv ] || { sleep "${UV_TAKES:-0}"; exit "${UV_STATUS:-0}"; }
for name in python flywheel; do
    mkdir -p "$FLYWHEEL_VENV/bin"
    printf '#!/bin/sh\\necho %s "$@" $PYTHONPYCACHEPREFIX$PYTHONDONTWRITEBYTECODE\\nexit 7\\n' \\
        $name > "$FLYWHEEL_VENV/bin/$name"
    chmod +x "$FLYWHEEL_VENV/bin/$name"
done
"""


class Checkout:
    """A checkout with nothing installed, on a machine with uv."""

    def __init__(self, folder: Path) -> None:
        self.root, self.tools = folder / "checkout", folder / "tools"
        self.notes = folder / "notes"
        self.root.mkdir()
        self.tools.mkdir()
        for name in ("run.py", "pyproject.toml", "constraints.txt"):
            shutil.copy(REPOSITORY / name, self.root)
        uv = self.tools / "uv"
        uv.write_text(UV)
        uv.chmod(0o755)
        self.env = {
            "PATH": f"{self.tools}:/usr/bin:/bin",
            "FLYWHEEL_VENV": str(folder / "venv"),
            "NOTES": str(self.notes),
        }

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(self.root / "run.py"), *arguments]
        return subprocess.Popen(
            command,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **env)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    @property
    def installs(self) -> list[str]:
        """What the stand-in was asked to do since the last look."""
        done = [line.split()[0] for line in self.notes.read_text().splitlines()] if self.notes.exists() else []
        self.notes.unlink(missing_ok=True)
        return done


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_the_first_run_installs_and_then_becomes_the_command(checkout: Checkout) -> None:
    done = checkout.run("ask", "a question", "--json")

    assert done.stdout == "flywheel ask a question --json\n"
    assert done.returncode == 7
    assert "Installing" in done.stderr
    assert checkout.installs == ["venv", "pip"]


def test_the_second_run_installs_nothing_and_says_nothing_of_its_own(checkout: Checkout) -> None:
    checkout.run("demo")
    assert checkout.installs
    again = checkout.run("demo")

    assert (again.stdout, again.stderr) == ("flywheel demo\n", "")
    assert checkout.installs == []


def test_tests_with_arguments_are_handed_to_pytest(checkout: Checkout) -> None:
    assert checkout.run("test", "-k", "a name", "--faults").stdout == "python -m pytest -k a name --faults\n"


def test_checks_stop_at_the_first_that_fails(checkout: Checkout) -> None:
    done = checkout.run("test")

    assert done.returncode == 7
    assert done.stdout == "python -m ruff check .\n"


#: Stands for Python: its pytest notes which tests have failed, and passes when it is called again.
PYTHON = """#!/bin/sh
shift
echo "$@" | cut -c -24
[ "$1" = pytest ] || exit 0
[ "$2" = --last-failed ] && exit "$ALONE"
mkdir -p .pytest_cache/v/cache
printf '%s' "$FAILED" > .pytest_cache/v/cache/lastfailed
exit 1
"""


@pytest.mark.parametrize(
    ("failed", "alone", "status", "called"),
    [
        ({"tests/a.py::b": True}, "0", 0, ["pytest --last-failed --l", "coverage report"]),
        ({"tests/a.py::b": True}, "1", 1, ["pytest --last-failed --l"]),
        ({f"tests/a.py::b{n}": True for n in range(11)}, "0", 1, []),
        ({}, "0", 1, []),
    ],
    ids=["it passes alone", "it fails alone too", "there are many", "none has failed: coverage is too low"],
)
def test_what_fails_beside_others_is_tried_alone(
    checkout: Checkout, failed: dict[str, bool], alone: str, status: int, called: list[str]
) -> None:
    checkout.run("demo")
    (Path(checkout.env["FLYWHEEL_VENV"]) / "bin" / "python").write_text(PYTHON)

    done = checkout.run("test", FAILED=json.dumps(failed), ALONE=alone)

    assert done.returncode == status
    assert [line for line in done.stdout.splitlines()[5:] if not line.startswith("pytest -n")] == called
    assert ("Passed alone" in done.stderr and "tests/a.py::b\n" in done.stderr) is (status == 0)


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_requirements_are_installed_into_the_environment_there_is(checkout: Checkout, name: str) -> None:
    checkout.run("demo")
    assert checkout.installs == ["venv", "pip"]
    with (checkout.root / name).open("a") as file:
        file.write("\n# changed\n")
    checkout.run("demo")

    assert checkout.installs == ["pip"]


def test_an_installation_that_failed_is_told_and_done_again_from_scratch(checkout: Checkout) -> None:
    failed = checkout.run("demo", UV_STATUS="1")

    assert failed.returncode == 1
    assert failed.stdout == ""
    assert "starts afresh" in failed.stderr
    assert checkout.installs == ["venv", "pip"]
    assert checkout.run("demo").stdout == "flywheel demo\n"
    assert checkout.installs == ["venv", "pip"]


def test_an_installation_that_was_cut_short_is_done_again_from_scratch(checkout: Checkout) -> None:
    cut_short = checkout.start("demo", UV_TAKES="60")
    wait_for(lambda: checkout.notes.exists() and "pip" in checkout.notes.read_text(), what="the packages are under way")
    os.killpg(cut_short.pid, signal.SIGKILL)
    cut_short.communicate()
    assert checkout.installs == ["venv", "pip"]

    assert checkout.run("demo").stdout == "flywheel demo\n"
    assert checkout.installs == ["venv", "pip"]


def test_two_first_runs_at_once_install_once(checkout: Checkout) -> None:
    both = [checkout.start("demo", UV_TAKES="0.5") for _ in range(2)]

    assert [process.communicate()[0] for process in both] == ["flywheel demo\n"] * 2
    assert checkout.installs == ["venv", "pip"]


def without_uv(tmp_path: Path, prelude: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run run.py as a Python to which ``prelude`` was done, on a machine with no other one and no uv."""
    code = f"import runpy, sys\n{prelude}\nsys.argv = ['run.py', 'demo']\n"
    code += f"runpy.run_path({str(RUN)!r}, run_name='__main__')"
    return subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": str(tmp_path), "FLYWHEEL_VENV": str(tmp_path / "venv"), **env},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_python_that_is_too_old_says_what_to_install(tmp_path: Path) -> None:
    done = without_uv(tmp_path, "sys.version_info = (3, 9, 2, 'final', 0)")

    assert done.returncode == 1
    assert "Python 3.11 or newer is needed; this is 3.9." in done.stderr
    assert "Traceback" not in done.stderr


def test_a_python_that_is_too_old_can_read_the_file() -> None:
    assert ast.parse(RUN.read_text(), feature_version=(3, 6))


def test_a_debian_python_without_ensurepip_says_which_package_is_missing(tmp_path: Path) -> None:
    (tmp_path / "ensurepip.py").write_text("raise ImportError('not on Debian')")
    done = without_uv(tmp_path, "", PYTHONPATH=str(tmp_path))

    assert done.returncode == 1
    assert "sudo apt install python3-venv" in done.stderr
    assert "Traceback" not in done.stderr


def test_constraints_pin_every_package_and_name_no_place_to_get_them_from() -> None:
    lines = [line for line in (REPOSITORY / "constraints.txt").read_text().splitlines() if not line.startswith("#")]

    assert all("==" in line for line in lines)
    assert not [line for line in lines if line.startswith("-") or "@" in line or "://" in line or "hash" in line]


def test_every_declared_package_is_pinned() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    declared = project["dependencies"] + project["optional-dependencies"]["test"]
    names = {re.split(r"[\[<>=~; ]", each)[0].replace(".", "-").lower() for each in declared}
    pinned = {line.split("==")[0] for line in (REPOSITORY / "constraints.txt").read_text().splitlines()}

    assert names <= pinned


def test_where_python_must_not_write_beside_its_sources_its_bytecode_goes_into_the_environment(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)

    forbidden = checkout.run("status", PYTHONDONTWRITEBYTECODE="1")
    allowed = checkout.run("status")

    assert forbidden.stdout == f"flywheel status {tmp_path}/venv/bytecode\n"
    assert allowed.stdout == "flywheel status\n"
