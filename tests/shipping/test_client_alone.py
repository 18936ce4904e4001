"""Where no extra is installed, each command works or names the extra that it needs, in a sentence."""

from __future__ import annotations

import json
import os
import subprocess
import venv
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from acceptance.commands import every_command
from packaging.requirements import Requirement
from processes import REPOSITORY

#: The commands that need an extra, whatever they are given.
NEEDS = {"worker": "worker", "up": "worker", "demo": "worker", "serve": "serve", "mcp": "mcp"}


def required(name: str, extras: frozenset[str] = frozenset()) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield what a distribution requires on this machine, with these of its extras."""
    for line in metadata.requires(name) or ():
        each = Requirement(line)
        if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in (extras or {""})):
            yield each.name, frozenset(each.extras)


def base() -> set[str]:
    """Return the distributions of an installation without any extra."""
    found: set[tuple[str, frozenset[str]]] = set()
    ahead = list(required("agentic-flywheel"))
    while ahead:
        one = ahead.pop()
        if one not in found:
            found.add(one)
            ahead += required(*one)
    return {name for name, _ in found}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that has the client's packages, as links to those of this one, and no other."""
    folder = tmp_path_factory.mktemp("alone")
    venv.create(folder / "venv", with_pip=False)
    (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    for name in base():
        files = metadata.distribution(name).files or ()
        tops = {file.parts[0] for file in files} - {"..", "__pycache__"}
        for top in tops:
            if not (packages / top).exists():
                (packages / top).symlink_to(str(metadata.distribution(name).locate_file(top)))
    ours = metadata.distribution("agentic-flywheel")
    (about,) = {file.parts[0] for file in ours.files or () if file.parts[0].endswith(".dist-info")}
    (packages / about).symlink_to(str(ours.locate_file(about)))
    (packages / "ours.pth").write_text(f"{REPOSITORY}\n")
    return folder


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("more", "needs"),
    [
        ({}, NEEDS),
        (
            {"LANGFUSE_PUBLIC_KEY": "pk", "LANGFUSE_SECRET_KEY": "sk", "LANGFUSE_BASE_URL": "http://127.0.0.1:1"},
            NEEDS | {"traces": "langfuse"},
        ),
    ],
    ids=["", "with keys of Langfuse"],
)
def test_every_command_of_a_client_alone_works_or_names_its_extra(
    alone: Path, tmp_path: Path, more: dict[str, str], needs: dict[str, str]
) -> None:
    (tmp_path / "1").write_text("{}")
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "REDIS_URL": "redis://127.0.0.1:1/0", **more}
    commands = list(every_command())
    done = subprocess.run(
        [alone / "venv" / "bin" / "python", REPOSITORY / "tests" / "acceptance" / "walking.py"],
        cwd=tmp_path,
        env=env,
        input=json.dumps([(words, {}) for words in commands]),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = dict(zip(map(" ".join, commands), json.loads(done.stdout), strict=True))

    assert {name: each for name, each in found.items() if "Traceback" in each[1] or each[0] not in (0, 1, 2, 3)} == {}
    for name, (status, said) in found.items():
        if "needs the package" in said or name in needs:
            assert status == 2, (name, said)
            assert "needs the package" in said.splitlines()[0], (name, said)
            # Where it came from, with the installer that this environment has: it has no pip, and `ours` is a checkout.
            assert f"uv pip install --python {alone}/venv/bin/python -e" in said.splitlines()[1], (name, said)
    for name, extra in needs.items():
        assert f"[{extra}]" in found[name][1], (name, found[name])
