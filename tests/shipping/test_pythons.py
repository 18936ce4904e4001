"""Every Python that the project names can install it with the pinned packages, from wheels alone."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from client_rooms import environment, uv_program
from processes import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
PYTHONS = [each.rpartition(" ")[2] for each in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", each)]


def test_the_oldest_python_is_the_one_that_is_required() -> None:
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"
    assert [f"3.{minor}" for minor in range(11, 11 + len(PYTHONS))] == PYTHONS


@pytest.mark.parametrize("python", PYTHONS)
def test_all_extras_are_to_be_had_as_wheels_in_the_pinned_versions(python: str, tmp_path: Path) -> None:
    found = tmp_path / "found.txt"
    extras = [part for extra in ("all", "encoder", "test") for part in ("--extra", extra)]
    options = ["--quiet", "--only-binary", ":all:", "--no-annotate", "--no-header", "--output-file", str(found)]
    command = [uv_program(), "pip", "compile", "--python-version", python, *options, *extras]
    done = subprocess.run(
        [*command, "--constraints", "constraints.txt", "pyproject.toml"],
        cwd=REPOSITORY,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    # A package may have one pin for old Pythons and another for new ones.
    pins: dict[str, set[str]] = {}
    for name, version in re.findall(
        r"^([\w.-]+)==([^\s;]+)", (REPOSITORY / "constraints.txt").read_text(), re.MULTILINE
    ):
        pins.setdefault(name, set()).add(version)
    chosen = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", found.read_text(), re.MULTILINE))
    assert {"celery", "redis", "mcp", "fastapi", "numpy"} <= set(chosen)
    assert {name for name, version in chosen.items() if version not in pins.get(name, {version})} == set()
