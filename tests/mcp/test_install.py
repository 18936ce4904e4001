"""Putting the bridge into a client's configuration."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from client_rooms import node_with_packages, npm_program
from processes import REPOSITORY

from agentic_flywheel.errors import ClientConfigRefused, InvalidSetting
from mcp_bridge.clients import CLIENTS, Scope
from mcp_bridge.install import NAME, install

VERSION = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]

SCOPES = [
    (name, scope)
    for name, client in CLIENTS.items()
    for scope, there in (("user", client.at_home), ("project", client.in_project))
    if there
]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def servers(path: Path, key: str) -> dict[str, Any]:
    """Return the servers that a configuration file has."""
    text = path.read_text()
    found: dict[str, Any] = (tomllib.loads(text) if path.suffix == ".toml" else json.loads(text))[key]
    return found


@pytest.mark.parametrize(("client", "scope"), SCOPES)
def test_a_new_configuration_starts_the_bridge_in_the_project(client: str, scope: Scope, project: Path) -> None:
    said = install(client, folder=project, scope=scope)
    path = CLIENTS[client].file(scope, project)
    entry = servers(path, CLIENTS[client].key)[NAME]

    assert str(path) in said
    assert "was added" in said
    assert path.stat().st_mode & 0o077 == 0
    if scope == "user":
        assert entry["command"] == sys.executable
        assert entry["args"][-2:] == ["--folder", str(project)]
    else:
        assert entry["command"] == "flywheel"


@pytest.mark.parametrize("client", [name for name, scope in SCOPES if scope == "project"])
def test_a_file_that_is_committed_names_no_path_of_this_machine(
    client: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLYWHEEL_HOME", ".state")
    monkeypatch.setenv("FLYWHEEL_REGISTRY", "/elsewhere/flows.yaml")

    install(client, folder=project, scope="project")
    text = CLIENTS[client].file("project", project).read_text()

    assert not re.search(r"[\"']/", text)
    assert ".state" in text


def test_the_entry_works_as_it_is_written(project: Path) -> None:
    install("claude-code", folder=project, scope="user")
    entry = servers(Path.home() / ".claude.json", "mcpServers")[NAME]

    told = subprocess.run(
        [entry["command"], *entry["args"], "--help"], cwd="/", capture_output=True, text=True, timeout=60, check=True
    )

    assert "Serve every MCP client" in told.stdout


@pytest.mark.parametrize("client", [name for name, about in CLIENTS.items() if not about.toml])
def test_what_is_there_is_kept(client: str, project: Path) -> None:
    about = CLIENTS[client]
    path = about.file(about.scope(None), project)
    path.parent.mkdir(parents=True, exist_ok=True)
    other = {"command": "other", "args": ["ü"]}
    path.write_text(json.dumps({"theme": "dark", about.key: {"other": other, NAME: {"command": "old"}}}))
    path.chmod(0o644)

    said = install(client, folder=project)
    found = json.loads(path.read_text())

    assert found["theme"] == "dark"
    assert found[about.key]["other"] == other
    assert found[about.key][NAME]["command"] != "old"
    assert "was updated" in said
    assert "other" in said
    assert path.stat().st_mode & 0o777 == 0o644


CODEX = """\
# my settings
model = "gpt"  # the usual one

[mcp_servers.agentic-flywheel]
command = "old"
[mcp_servers.agentic-flywheel.env]
A = "b"

[mcp_servers.other]  # mine
command = "other"
args = ["[mcp_servers.agentic-flywheel]"]
"""


def test_a_toml_file_keeps_its_comments_and_other_tables(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_HOME", ".state")
    path = Path.home() / ".codex/config.toml"
    path.parent.mkdir(parents=True)
    path.write_text(CODEX)

    install("codex", folder=project)
    text = path.read_text()
    found = tomllib.loads(text)["mcp_servers"]

    assert "# the usual one" in text
    assert "# mine" in text
    assert found["other"]["args"] == ["[mcp_servers.agentic-flywheel]"]
    assert found[NAME]["command"] == sys.executable
    assert found[NAME]["tool_timeout_sec"] >= 45
    assert found[NAME]["env"] == {"FLYWHEEL_HOME": str(project / ".state")}


@pytest.mark.parametrize("client", [name for name, about in CLIENTS.items() if about.address])
def test_a_bridge_over_http_is_named_by_its_address(client: str, project: Path) -> None:
    about = CLIENTS[client]
    install(client, folder=project, url="https://flywheel.example.com/mcp")
    entry = servers(about.file(about.scope(None), project), about.key)[NAME]

    assert entry[about.address] == "https://flywheel.example.com/mcp"
    assert "command" not in entry


@pytest.mark.parametrize("client", CLIENTS)
def test_a_token_is_taken_from_a_variable_or_not_at_all(client: str, project: Path) -> None:
    about = CLIENTS[client]
    url, variable = "https://flywheel.example.com/mcp", "FLYWHEEL_TOKEN"
    if not (about.variable or about.toml):
        with pytest.raises(InvalidSetting):
            install(client, folder=project, url=url, token_env=variable)
        return

    install(client, folder=project, url=url, token_env=variable)
    entry = servers(about.file(about.scope(None), project), about.key)[NAME]

    assert "FLYWHEEL_TOKEN" in json.dumps(entry)
    if not about.toml:
        assert re.fullmatch(r"Bearer \$\{(env:)?FLYWHEEL_TOKEN\}", entry["headers"]["Authorization"])


def test_a_scope_that_a_client_has_not_is_refused(project: Path) -> None:
    with pytest.raises(InvalidSetting, match="Windsurf"):
        install("windsurf", folder=project, scope="project")


def test_the_packaged_claude_desktop_on_windows_reads_a_file_of_its_own(project: Path) -> None:
    about = CLIENTS["claude-desktop"]
    plain = about.file("user", project, "win32")
    packaged = Path.home() / "AppData/Local/Packages/Claude_pzs8sxrjxfjjc/LocalCache/Roaming/Claude"
    packaged.mkdir(parents=True)

    assert plain == Path.home() / "AppData/Roaming/Claude/claude_desktop_config.json"
    assert about.file("user", project, "win32") == packaged / "claude_desktop_config.json"


def test_the_second_time_nothing_changes(project: Path) -> None:
    install("cursor", folder=project)
    before = (project / ".cursor/mcp.json").stat()

    said = install("cursor", folder=project)

    assert "nothing was changed" in said
    assert (project / ".cursor/mcp.json").stat().st_mtime_ns == before.st_mtime_ns


def test_a_dry_run_shows_all_and_writes_nothing(project: Path) -> None:
    said = install("vscode", folder=project, dry_run=True)

    assert NAME in said
    assert "flywheel" in said
    assert not (project / ".vscode").exists()


@pytest.mark.parametrize(
    ("client", "content"),
    [
        ("vscode", '{"servers": {} // my servers\n}'),
        ("vscode", "[]"),
        ("vscode", '{"servers": []}'),
        ("vscode", "{"),
        ("vscode", "\x00"),
        ("vscode", '{"servers": {"a": 1}} x'),
        ("vscode", "[" * 100_000),
        ("codex", "model = "),
        ("codex", "mcp_servers = 1"),
        ("codex", 'mcp_servers = {agentic-flywheel = {command = "old"}}'),
    ],
)
def test_a_file_that_cannot_be_merged_is_left_as_it_is(client: str, content: str, project: Path) -> None:
    path = CLIENTS[client].file("project", project)
    path.parent.mkdir()
    path.write_text(content)

    with pytest.raises(ClientConfigRefused) as refused:
        install(client, folder=project, scope="project")

    assert path.read_text() == content
    assert len(refused.value.recovery_suggestions) >= 3


def test_an_empty_file_counts_as_none(project: Path) -> None:
    (project / ".mcp.json").write_text("\n")

    install("claude-code", folder=project)

    assert NAME in (project / ".mcp.json").read_text()


def test_a_link_stays_a_link(project: Path, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.json"
    real.write_text("{}")
    (project / ".mcp.json").symlink_to(real)

    install("claude-code", folder=project)

    assert (project / ".mcp.json").is_symlink()
    assert NAME in real.read_text()


def test_only_places_go_into_the_file_and_no_secrets(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_HOME", ".other")
    monkeypatch.setenv("FLOWISE_API_KEY", "secret-key")

    install("cursor", folder=project, scope="user")
    text = (Path.home() / ".cursor/mcp.json").read_text()

    assert json.loads(text)["mcpServers"][NAME]["env"] == {"FLYWHEEL_HOME": str(project / ".other")}
    assert "secret-key" not in text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["--folder", "/nowhere/at/all"], "--folder"), (["--http", "192.0.2.7:80"], "FLYWHEEL_TOKENS_FILE")],
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


def test_the_bundle_is_valid_and_of_this_version() -> None:
    manifest = REPOSITORY / "deploy/mcpb/manifest.json"
    node = node_with_packages()
    checked = subprocess.run(
        [node.program, npm_program(node, "@anthropic-ai/mcpb", "mcpb"), "validate", manifest],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert json.loads(manifest.read_text())["version"] == VERSION
    assert f"agentic-flywheel[mcp]=={VERSION}" in (REPOSITORY / "deploy/mcpb/pyproject.toml").read_text()


ARGUMENT = {
    "oneOf": [
        {
            "properties": {"type": {"const": "positional"}},
            "anyOf": [{"required": ["value"]}, {"required": ["valueHint"]}],
        },
        {"properties": {"type": {"const": "named"}}, "required": ["name"]},
    ],
    "required": ["type"],
}
#: What the registry asks of an entry like ours. No package carries its whole schema.
ENTRY = {
    "required": ["$schema", "name", "description", "version", "packages"],
    "properties": {
        "name": {"pattern": r"^[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+$", "maxLength": 200},
        "description": {"minLength": 1, "maxLength": 100},
        "version": {"const": VERSION},
        "packages": {
            "minItems": 1,
            "items": {
                "required": ["registryType", "identifier", "version", "transport", "runtimeHint"],
                "properties": {
                    "version": {"const": VERSION},
                    "transport": {"properties": {"type": {"const": "stdio"}}, "required": ["type"]},
                    "runtimeArguments": {"items": ARGUMENT},
                    "packageArguments": {"items": ARGUMENT},
                    "environmentVariables": {"items": {"required": ["name"]}},
                },
            },
        },
    },
}


def test_the_entry_for_the_registry_is_valid_and_of_this_version() -> None:
    jsonschema.validate(json.loads((REPOSITORY / "deploy/server.json").read_text()), ENTRY)
