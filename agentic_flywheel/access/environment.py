"""The tokens that the settings name: those of the file, and those that stand in the environment as they are."""

from __future__ import annotations

from pathlib import Path

from agentic_flywheel.access.file import digest_of, tokens_path
from agentic_flywheel.access.grant import Grant, Scope, owner_of
from agentic_flywheel.access.tokens import Tokens
from agentic_flywheel.errors import InvalidSetting
from agentic_flywheel.settings import Settings

#: Shorter ones can be guessed.
_SHORTEST = 16
#: What a token of the environment allows.
_SCOPES = frozenset({Scope.ASK, Scope.READ, Scope.MANAGE})


def read_tokens(settings: Settings) -> Tokens:
    """Return all tokens that are let in. Raises InvalidTokens and InvalidSetting, which never show a token."""
    owners: dict[str, str] = {}
    if settings.mcp_tokens is not None:
        _read(settings.mcp_tokens.get_secret_value().replace(",", "\n"), "FLYWHEEL_MCP_TOKENS", owners)
    if settings.mcp_tokens_file is not None:
        _read(_content(settings.mcp_tokens_file), "FLYWHEEL_MCP_TOKENS_FILE", owners)
    fixed = {
        digest_of(token): Grant(token_id=f"setting-{number}", owner=owner, scopes=_SCOPES)
        for number, (token, owner) in enumerate(owners.items(), 1)
    }
    return Tokens(tokens_path(settings), fixed)


def _content(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as refused:
        raise InvalidSetting("FLYWHEEL_MCP_TOKENS_FILE", f"cannot be read: {refused}") from None


def _read(text: str, setting: str, owners: dict[str, str]) -> None:
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        name, given, token = entry.partition("=")
        name, token = name.strip(), token.strip()
        if not given:
            raise InvalidSetting(setting, f"entry {number} is not name=token")
        try:
            owner_of(name)
        except ValueError as refused:
            raise InvalidSetting(setting, f"entry {number}: its name is refused: {refused}") from None
        if len(token) < _SHORTEST:
            raise InvalidSetting(setting, f"the token of {name} is shorter than {_SHORTEST} characters")
        if owners.setdefault(token, name) != name:
            raise InvalidSetting(setting, f"{name} and {owners[token]} have the same token")
