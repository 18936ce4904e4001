"""Where each MCP client keeps its servers, and how it writes one: looked up in the client's documentation or source."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from agentic_flywheel.errors import InvalidSetting
from agentic_flywheel.places import home_folder

Scope = Literal["user", "project"]


@dataclass(frozen=True)
class Client:
    """One client."""

    name: str
    #: What a person does next.
    then: str
    #: Below the user's home, by platform; `linux` stands for all that are not named. Empty: no such scope.
    at_home: Mapping[str, str] = field(default_factory=dict)
    #: Below the project's folder. Empty: no such scope.
    in_project: str = ""
    #: The key of the file under which servers are.
    key: str = "mcpServers"
    #: What every entry has, and what one of a program and one of an address have.
    common: Mapping[str, Any] = field(default_factory=dict)
    local: Mapping[str, Any] = field(default_factory=dict)
    remote: Mapping[str, Any] = field(default_factory=dict)
    #: The field of an address; empty where the file takes none.
    address: str = "url"
    #: How the client's files name an environment variable; empty where they cannot.
    variable: str = ""
    #: How they name the project's folder; where they cannot, the client starts servers in it.
    folder: str = "."
    #: Not first: the file that is there for the packaged program, with `*` for what differs.
    packaged: str = ""

    @property
    def toml(self) -> bool:
        return next(iter([*self.at_home.values(), self.in_project])).endswith(".toml")

    def scope(self, wanted: Scope | None) -> Scope:
        """Return the scope to write to. Raises InvalidSetting where the client has not the one that is wanted."""
        usual: Scope = "project" if self.in_project and self.name not in _USER_FIRST else "user"
        if wanted is None:
            return usual
        if not (self.in_project if wanted == "project" else self.at_home):
            raise InvalidSetting("--scope", f"{self.name} has no servers of a {wanted}, only of a {usual}")
        return wanted

    def file(self, scope: Scope, folder: Path, platform: str = sys.platform) -> Path:
        """Return the configuration file of a scope. Raises InvalidSetting where this user has no home folder."""
        if scope == "project":
            return folder / self.in_project
        home = home_folder()
        if home is None:
            raise InvalidSetting("HOME", f"this user has no home folder, and {self.name} keeps its servers there")
        if platform == "win32" and self.packaged:
            found = sorted(home.glob(self.packaged))
            if found:
                return found[0] / Path(self.at_home["win32"]).name
        return home / self.at_home.get(platform, self.at_home["linux"])

    def program(self, command: str, arguments: list[str], env: Mapping[str, str]) -> dict[str, Any]:
        """Return the entry of a program that the client starts."""
        entry = {**self.common, **self.local, "command": command, "args": arguments}
        return {**entry, "env": dict(env)} if env else entry

    def at(self, url: str, token_variable: str | None) -> dict[str, Any]:
        """Return the entry of a server at an address, with its token taken from an environment variable.

        Raises InvalidSetting where the client's file cannot say that.
        """
        if not self.address:
            raise InvalidSetting("--url", f"{self.name} takes no address in its file; add it as a connector instead")
        entry = {**self.common, **self.remote, self.address: url}
        if token_variable is None:
            return entry
        if self.toml:
            return {**entry, "bearer_token_env_var": token_variable}
        if not self.variable:
            raise InvalidSetting(
                "--token-env", f"{self.name} reads no variables, and a token is not written into its file"
            )
        return {**entry, "headers": {"Authorization": f"Bearer {self.variable.format(token_variable)}"}}


#: Clients with both scopes whose own commands write the user's file unless told otherwise.
_USER_FIRST = ("Codex",)

#: Seconds and milliseconds for one call: more than the longest wait, where a client's own limit could be lower.
_SECONDS, _MILLISECONDS = 60, 60_000

CLIENTS = {
    "claude-desktop": Client(
        "Claude Desktop",
        "Restart Claude Desktop.",
        {
            "linux": ".config/Claude/claude_desktop_config.json",
            "darwin": "Library/Application Support/Claude/claude_desktop_config.json",
            "win32": "AppData/Roaming/Claude/claude_desktop_config.json",
        },
        address="",
        packaged="AppData/Local/Packages/Claude_*/LocalCache/Roaming/Claude",
    ),
    "claude-code": Client(
        "Claude Code",
        "Start `claude` in this folder and approve the server.",
        {"linux": ".claude.json"},
        ".mcp.json",
        local={"type": "stdio"},
        remote={"type": "http"},
        variable="${{{}}}",
        folder="${CLAUDE_PROJECT_DIR:-.}",
    ),
    "vscode": Client(
        "VS Code",
        "Open the folder and start the server there.",
        {
            "linux": ".config/Code/User/mcp.json",
            "darwin": "Library/Application Support/Code/User/mcp.json",
            "win32": "AppData/Roaming/Code/User/mcp.json",
        },
        ".vscode/mcp.json",
        key="servers",
        local={"type": "stdio"},
        remote={"type": "http"},
        variable="${{env:{}}}",
        folder="${workspaceFolder}",
    ),
    "cursor": Client(
        "Cursor",
        "Enable it in Cursor's settings, under MCP.",
        {"linux": ".cursor/mcp.json"},
        ".cursor/mcp.json",
        variable="${{env:{}}}",
        folder="${workspaceFolder}",
    ),
    "codex": Client(
        "Codex",
        "Start `codex`; /mcp shows the server. A project's file counts once you trust the project.",
        {"linux": ".codex/config.toml"},
        ".codex/config.toml",
        key="mcp_servers",
        common={"startup_timeout_sec": 20, "tool_timeout_sec": _SECONDS},
    ),
    "gemini": Client(
        "Gemini CLI",
        "Start `gemini`; /mcp shows the server. A project's file counts once you trust the folder.",
        {"linux": ".gemini/settings.json"},
        ".gemini/settings.json",
        common={"timeout": _MILLISECONDS},
        address="httpUrl",
        variable="${{{}}}",
    ),
    "windsurf": Client(
        "Windsurf",
        "Refresh the servers in Cascade.",
        {"linux": ".codeium/windsurf/mcp_config.json"},
        address="serverUrl",
        variable="${{env:{}}}",
    ),
    "zed": Client(
        "Zed",
        "Open the Agent Panel's settings: the server's dot is green.",
        {"linux": ".config/zed/settings.json", "win32": "AppData/Roaming/Zed/settings.json"},
        key="context_servers",
        local={"source": "custom"},
    ),
    "cline": Client(
        "Cline",
        "Restart Cline. (Its VS Code extension: MCP Servers, Configure; paste what --dry-run shows.)",
        {"linux": ".cline/data/settings/cline_mcp_settings.json"},
        common={"timeout": _SECONDS, "disabled": False},
        remote={"type": "streamableHttp"},
        variable="${{env:{}}}",
    ),
    "continue": Client(
        "Continue",
        "Reload the window; tools are there in agent mode.",
        in_project=".continue/mcpServers/agentic-flywheel.json",
        remote={"type": "http"},
    ),
    "lm-studio": Client(
        "LM Studio",
        "Open the Program tab and switch the server on.",
        {"linux": ".lmstudio/mcp.json"},
    ),
}
