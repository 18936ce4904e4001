"""The command that adds an extra is the one of whoever made the installation, and finds what an index need not have."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agentic_flywheel import installation
from agentic_flywheel.installation import install_command

WHEEL = "file:///srv/a%20b/agentic_flywheel-0.1.0-py3-none-any.whl"
UV_TOOL = (
    f'[tool]\nrequirements = [{{ name = "agentic-flywheel", extras = ["worker"], path = "{WHEEL}" }}, {{ name = "x" }}]'
)


@pytest.mark.parametrize(
    ("origin", "told"),
    [
        (None, "'agentic-flywheel[serve]'"),
        ({"url": WHEEL, "archive_info": {}}, f"'agentic-flywheel[serve] @ {WHEEL}'"),
        ({"url": "file:///srv/a%20b", "dir_info": {}}, "'agentic-flywheel[serve] @ file:///srv/a%20b'"),
        ({"url": "file:///srv/a%20b", "dir_info": {"editable": True}}, "-e '/srv/a b[serve]'"),
        (
            {"url": "https://host/a.git", "vcs_info": {"vcs": "git", "commit_id": "5e4", "requested_revision": "main"}},
            "'agentic-flywheel[serve] @ git+https://host/a.git@5e4'",
        ),
    ],
    ids=["from an index", "a wheel", "a folder", "a checkout in place", "a repository"],
)
def test_what_was_installed_is_installed_again_from_where_it_came(
    origin: dict[str, Any] | None, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = SimpleNamespace(read_text=lambda _: None if origin is None else json.dumps(origin))
    monkeypatch.setattr(metadata, "distribution", lambda _: recorded)

    assert install_command("serve") == f"{sys.executable} -m pip install {told}"


@pytest.mark.parametrize(
    ("left", "told"),
    [
        ({}, "uv pip install --python '/the python' 'agentic-flywheel[serve]'"),
        ({"pipx_metadata.json": "{}"}, "pipx runpip tool install 'agentic-flywheel[serve]'"),
        # Each installation of a tool replaces the one before, with its extras.
        ({"uv-receipt.toml": UV_TOOL}, "uv tool install 'agentic-flywheel[serve,worker]'"),
    ],
    ids=["no pip", "pipx", "a tool of uv"],
)
def test_whoever_made_the_environment_adds_to_it(
    left: dict[str, str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tool").mkdir()
    for name, content in left.items():
        (tmp_path / "tool" / name).write_text(content)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "tool"))
    monkeypatch.setattr(sys, "executable", "/the python")
    monkeypatch.setattr(installation, "find_spec", lambda _: None)
    monkeypatch.setattr(metadata, "distribution", lambda _: SimpleNamespace(read_text=lambda _: None))

    assert install_command("serve") == told
