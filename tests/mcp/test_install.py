"""Putting the bridge into a client's configuration."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agentic_flywheel.errors import ClientConfigRefused
from mcp_bridge.install import CLIENTS, NAME, install


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("client", CLIENTS)
def test_a_new_configuration_starts_the_bridge_in_the_project(client: str, project: Path) -> None:
    said = install(client, folder=project, dry_run=False)
    path = CLIENTS[client].file(project)
    entry = json.loads(path.read_text())[CLIENTS[client].key][NAME]

    assert str(path) in said
    assert "was added" in said
    assert entry["command"] == sys.executable
    assert entry["args"][-2:] == ["--folder", str(project)]
    assert path.stat().st_mode & 0o077 == 0


def test_the_entry_works_as_it_is_written(project: Path) -> None:
    install("claude-code", folder=project, dry_run=False)
    entry = json.loads((project / ".mcp.json").read_text())["mcpServers"][NAME]

    told = subprocess.run(
        [entry["command"], *entry["args"], "--help"], cwd="/", capture_output=True, text=True, timeout=60, check=True
    )

    assert "Serve every MCP client" in told.stdout


@pytest.mark.parametrize("client", CLIENTS)
def test_what_is_there_is_kept(client: str, project: Path) -> None:
    path, key = CLIENTS[client].file(project), CLIENTS[client].key
    path.parent.mkdir(parents=True, exist_ok=True)
    other = {"command": "other", "args": ["ü"]}
    path.write_text(json.dumps({"theme": "dark", key: {"other": other, NAME: {"command": "old"}}}))
    path.chmod(0o644)

    said = install(client, folder=project, dry_run=False)
    found = json.loads(path.read_text())

    assert found["theme"] == "dark"
    assert found[key]["other"] == other
    assert found[key][NAME]["command"] == sys.executable
    assert "was updated" in said
    assert "other" in said
    assert path.stat().st_mode & 0o777 == 0o644


def test_the_second_time_nothing_changes(project: Path) -> None:
    install("cursor", folder=project, dry_run=False)
    before = (project / ".cursor/mcp.json").stat()

    said = install("cursor", folder=project, dry_run=False)

    assert "nothing was changed" in said
    assert (project / ".cursor/mcp.json").stat().st_mtime_ns == before.st_mtime_ns


def test_a_dry_run_shows_all_and_writes_nothing(project: Path) -> None:
    said = install("vscode", folder=project, dry_run=True)

    assert NAME in said
    assert "mcp_bridge" in said
    assert not (project / ".vscode").exists()


@pytest.mark.parametrize(
    "content", ['{"servers": {} // my servers\n}', "[]", '{"servers": []}', "{", "\x00", '{"servers": {"a": 1}} x']
)
def test_a_file_that_cannot_be_merged_is_left_as_it_is(content: str, project: Path) -> None:
    path = project / ".vscode" / "mcp.json"
    path.parent.mkdir()
    path.write_text(content)

    with pytest.raises(ClientConfigRefused) as refused:
        install("vscode", folder=project, dry_run=False)

    assert path.read_text() == content
    assert len(refused.value.recovery_suggestions) >= 3


def test_an_empty_file_counts_as_none(project: Path) -> None:
    (project / ".mcp.json").write_text("\n")

    install("claude-code", folder=project, dry_run=False)

    assert NAME in (project / ".mcp.json").read_text()


def test_a_link_stays_a_link(project: Path, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.json"
    real.write_text("{}")
    (project / ".mcp.json").symlink_to(real)

    install("claude-code", folder=project, dry_run=False)

    assert (project / ".mcp.json").is_symlink()
    assert NAME in real.read_text()


def test_only_places_go_into_the_file_and_no_secrets(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_HOME", ".other")
    monkeypatch.setenv("FLOWISE_API_KEY", "secret-key")
    monkeypatch.chdir(project)

    install("claude-code", folder=project, dry_run=False)
    text = (project / ".mcp.json").read_text()

    assert json.loads(text)["mcpServers"][NAME]["env"] == {"FLYWHEEL_HOME": str(project / ".other")}
    assert "secret-key" not in text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["--folder", "/nowhere/at/all"], "--folder"), (["--http", "192.0.2.7:80"], "FLYWHEEL_MCP_TOKENS")],
)
def test_a_bridge_that_cannot_start_says_what_to_do(arguments: list[str], told: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "mcp_bridge", *arguments], capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.returncode == 2
    assert told in ended.stderr
    assert ended.stderr.count("\n  - ") == 3
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""
