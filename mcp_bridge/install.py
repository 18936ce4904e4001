"""Put the bridge into an MCP client's configuration: merged into what is there, written whole or not at all."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentic_flywheel.errors import ClientConfigRefused
from agentic_flywheel.settings import load_settings

NAME = "agentic-flywheel"


@dataclass(frozen=True)
class Client:
    """Where a client keeps its servers."""

    name: str
    #: Below the user's home, by platform; or below the project, where that is empty.
    at_home: dict[str, str]
    in_project: str
    #: The key of the file under which servers are.
    key: str
    typed: bool
    then: str

    def file(self, folder: Path, platform: str = sys.platform) -> Path:
        """Return the configuration file."""
        place = self.at_home.get(platform, self.at_home.get("linux", ""))
        return Path.home() / place if place else folder / self.in_project


CLIENTS = {
    "claude-desktop": Client(
        "Claude Desktop",
        {
            "linux": ".config/Claude/claude_desktop_config.json",
            "darwin": "Library/Application Support/Claude/claude_desktop_config.json",
            "win32": "AppData/Roaming/Claude/claude_desktop_config.json",
        },
        "",
        "mcpServers",
        False,
        "Restart Claude Desktop.",
    ),
    "claude-code": Client(
        "Claude Code", {}, ".mcp.json", "mcpServers", True, "Start `claude` in this folder and approve the server."
    ),
    "vscode": Client("VS Code", {}, ".vscode/mcp.json", "servers", True, "Open the folder and start the server there."),
    "cursor": Client(
        "Cursor", {}, ".cursor/mcp.json", "mcpServers", False, "Enable it in Cursor's settings, under MCP."
    ),
}


def server_entry(folder: Path) -> dict[str, Any]:
    """Return how a client starts the bridge for a folder's project: by full paths, since it has no PATH of ours."""
    entry: dict[str, Any] = {
        "command": sys.executable,
        "args": ["-P", "-m", "mcp_bridge", "--folder", str(folder)],
    }
    settings = load_settings()
    # Only places; addresses are found by the running stack, and secrets stay out of such files.
    places = {"FLYWHEEL_HOME": settings.home, "FLYWHEEL_REGISTRY": settings.registry}
    env = {
        name: str(place.expanduser().absolute())
        for name, place in places.items()
        if place is not None and name.removeprefix("FLYWHEEL_").lower() in settings.model_fields_set
    }
    return {**entry, "env": env} if env else entry


def install(client: str, *, folder: Path, dry_run: bool) -> str:
    """Write a client's configuration and return what was done, for a person; ``dry_run`` returns what it would be.

    Raises ClientConfigRefused, which leaves the file as it was.
    """
    about = CLIENTS[client]
    path = about.file(folder)
    entry = server_entry(folder)
    if about.typed:
        entry = {"type": "stdio", **entry}
    existing = _read(path, about.key)
    servers = existing.get(about.key, {})
    before = servers.get(NAME)
    merged = {**existing, about.key: {**servers, NAME: entry}}
    text = json.dumps(merged, indent=2, ensure_ascii=False) + "\n"
    if dry_run:
        return f"{about.name} would have in {path}:\n{text}"
    if before == entry:
        return f"{about.name} has the bridge already, in {path}; nothing was changed.\n"
    _write(path, text)
    did = "was added to" if before is None else "was updated in"
    others = [name for name in servers if name != NAME]
    kept = f" Its other servers are as before: {', '.join(others)}." if others else ""
    return f"{NAME} {did} {path}.{kept}\n{about.then}\n"


def _read(path: Path, key: str) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as refused:
        raise ClientConfigRefused(str(path), f"it cannot be read: {refused}") from None
    if not text.strip():
        return {}
    try:
        found = json.loads(text)
    except ValueError as refused:
        raise ClientConfigRefused(str(path), f"it is not plain JSON: {refused}") from None
    if not isinstance(found, dict) or not isinstance(found.get(key, {}), dict):
        raise ClientConfigRefused(str(path), f"it is not an object with an object under {key!r}")
    return found


def _write(path: Path, text: str) -> None:
    """Replace the file in one step; through a link, the file behind it."""
    target = path.resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            Path(draft).chmod(target.stat().st_mode & 0o777 if target.exists() else 0o600)
            Path(draft).replace(target)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
    except OSError as refused:
        raise ClientConfigRefused(str(path), f"it cannot be written: {refused.strerror or refused}") from None
