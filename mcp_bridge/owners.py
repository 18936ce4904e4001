"""Who calls: a bearer token stands for an owner; without tokens it is the user of this machine."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken

from agentic_flywheel.errors import InvalidSetting
from agentic_flywheel.settings import Settings

#: Whose queries are asked over stdio, on loopback without a token, and by the command line.
LOCAL = "local"
#: Shorter ones can be guessed.
_SHORTEST = 16

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.@-]{0,99}$")


def current_owner() -> str:
    """Return the owner for whom this request is made."""
    access = get_access_token()
    return access.client_id if access is not None else LOCAL


class Tokens:
    """The tokens that are let in. Only their digests are kept."""

    def __init__(self, owners: dict[str, str]) -> None:
        """Take owners by token."""
        self._owners = {_digest(token): owner for token, owner in owners.items()}

    def __bool__(self) -> bool:
        return bool(self._owners)

    def owner_of(self, token: str) -> str | None:
        """Return whose token this is; None where it is nobody's."""
        return self._owners.get(_digest(token))

    async def verify_token(self, token: str) -> AccessToken | None:
        """Say yes or no in the words of the SDK's token verifiers."""
        owner = self.owner_of(token)
        return AccessToken(token="", client_id=owner, scopes=[]) if owner is not None else None


def read_tokens(settings: Settings) -> Tokens:
    """Return the tokens that the settings name. Raises InvalidSetting, which never shows a token."""
    owners: dict[str, str] = {}
    if settings.mcp_tokens is not None:
        _read(settings.mcp_tokens.get_secret_value().replace(",", "\n"), "FLYWHEEL_MCP_TOKENS", owners)
    if settings.mcp_tokens_file is not None:
        _read(_content(settings.mcp_tokens_file), "FLYWHEEL_MCP_TOKENS_FILE", owners)
    return Tokens(owners)


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
        if not given or not _NAME.match(name):
            raise InvalidSetting(setting, f"entry {number} is not name=token, the name of letters, digits and _ . @ -")
        if len(token) < _SHORTEST:
            raise InvalidSetting(setting, f"the token of {name} is shorter than {_SHORTEST} characters")
        if owners.setdefault(token, name) != name:
            raise InvalidSetting(setting, f"{name} and {owners[token]} have the same token")


def _digest(token: str) -> bytes:
    # Looked up by digest, a token cannot be guessed from how long a comparison takes.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
