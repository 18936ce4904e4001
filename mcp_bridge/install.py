"""Put the bridge into an MCP client's configuration: merged into what is there, written whole or not at all."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from agentic_flywheel.errors import ClientConfigRefused
from agentic_flywheel.settings import load_settings
from agentic_flywheel.whole_files import mode_of, replacing
from mcp_bridge.clients import CLIENTS, Client, Scope

NAME = "agentic-flywheel"


def install(
    client: str,
    *,
    folder: Path,
    scope: Scope | None = None,
    url: str | None = None,
    token_env: str | None = None,
    dry_run: bool = False,
) -> str:
    """Write a client's configuration and return what was done, for a person; ``dry_run`` returns what it would be.

    ``url``: the entry names a bridge that serves there, with the token in the environment variable ``token_env``;
    without it the client starts one for the folder. Raises ClientConfigRefused, which leaves the file as it was, and
    InvalidSetting.
    """
    about = CLIENTS[client]
    scope = about.scope(scope)
    path = about.file(scope, folder)
    entry = about.at(url, token_env) if url is not None else _program(about, scope, folder)
    text = _text_of(path)
    existing = _parsed(path, text, about)
    servers = existing.get(about.key, {})
    before = servers.get(NAME)
    merged = (_merged_toml if about.toml else _merged_json)(path, text, existing, about.key, entry)
    if dry_run:
        return f"{about.name} would have in {path}:\n{merged}"
    if before == entry:
        return f"{about.name} has the bridge already, in {path}; nothing was changed.\n"
    _write(path, merged)
    did = "was added to" if before is None else "was updated in"
    others = [name for name in servers if name != NAME]
    kept = f" Its other servers are as before: {', '.join(others)}." if others else ""
    return f"{NAME} {did} {path}.{kept}\n{about.then}\n"


def _program(about: Client, scope: Scope, folder: Path) -> dict[str, Any]:
    """Return the entry with which a client starts the bridge for a folder's project."""
    if scope == "project":
        # Such a file is committed: no path of this machine goes into it.
        return about.program("flywheel", ["mcp", "--folder", about.folder], _places(folder))
    # By full paths: a client has no PATH of ours.
    arguments = ["-P", "-m", "mcp_bridge", "--folder", str(folder)]
    return about.program(sys.executable, arguments, _places(None))


def _places(folder: Path | None) -> dict[str, str]:
    """Return the settings that are files or folders and were set, by the name of their variable.

    With ``folder``: only those within it, by their path from there. Addresses and secrets are left out: the bridge
    takes addresses from the running stack.
    """
    settings = load_settings()
    given = {"FLYWHEEL_HOME": settings.home, "FLYWHEEL_REGISTRY": settings.registry}
    found = {}
    for name, place in given.items():
        if place is None or name.removeprefix("FLYWHEEL_").lower() not in settings.model_fields_set:
            continue
        place = place.absolute()
        if folder is None:
            found[name] = str(place)
        elif place.is_relative_to(folder):
            found[name] = place.relative_to(folder).as_posix()
    return found


def _text_of(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as refused:
        raise ClientConfigRefused(str(path), f"it cannot be read: {refused}") from None


def _parsed(path: Path, text: str, about: Client) -> dict[str, Any]:
    if not text.strip():
        return {}
    try:
        found = tomllib.loads(text) if about.toml else json.loads(text)
    except (ValueError, RecursionError) as refused:
        raise ClientConfigRefused(str(path), f"it is not plain {'TOML' if about.toml else 'JSON'}: {refused}") from None
    if not isinstance(found, dict) or not isinstance(found.get(about.key, {}), dict):
        raise ClientConfigRefused(str(path), f"it is not an object with an object under {about.key!r}")
    return found


def _merged_json(path: Path, text: str, existing: dict[str, Any], key: str, entry: dict[str, Any]) -> str:
    merged = {**existing, key: {**existing.get(key, {}), NAME: entry}}
    return json.dumps(merged, indent=2, ensure_ascii=False) + "\n"


def _merged_toml(path: Path, text: str, existing: dict[str, Any], key: str, entry: dict[str, Any]) -> str:
    """Return the text with our table at its end; comments and everything else stay as they are."""
    ours = re.compile(rf"^\s*\[\s*{key}\s*\.\s*\"?{NAME}\"?\s*(\.[^\]]*)?\]")
    kept, within = [], False
    for line in text.splitlines(keepends=True):
        if line.lstrip().startswith("["):
            within = bool(ours.match(line))
        if not within:
            kept.append(line)
    before = "".join(kept).rstrip("\n")
    merged = (f"{before}\n\n" if before else "") + _table(f"{key}.{NAME}", entry)
    wanted = {**existing, key: {**existing.get(key, {}), NAME: entry}}
    try:
        if tomllib.loads(merged) == wanted:
            return merged
    except tomllib.TOMLDecodeError:
        pass
    raise ClientConfigRefused(str(path), f"its {key} are not written as one table each")


def _table(name: str, entry: dict[str, Any]) -> str:
    # A JSON string is a TOML string too, and so is a list of them.
    lines = [f"{each} = {json.dumps(value)}\n" for each, value in entry.items() if not isinstance(value, dict)]
    inner = [_table(f"{name}.{each}", value) for each, value in entry.items() if isinstance(value, dict)]
    return "".join([f"[{name}]\n", *lines, *(f"\n{each}" for each in inner)])


def _write(path: Path, text: str) -> None:
    """Replace the file in one step; through a link, the file behind it."""
    target = path.resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target, mode_of(target, otherwise=0o600)) as file:
            file.write(text.encode())
    except OSError as refused:
        raise ClientConfigRefused(str(path), f"it cannot be written: {refused.strerror or refused}") from None
