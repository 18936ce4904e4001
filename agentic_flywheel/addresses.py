"""Take the secrets out of addresses. Whatever shows an address, or a text that may hold one, shows it through this."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

#: A user and a password, and what follows a path: passwords and keys stand there too.
_LOGIN = re.compile(r"(?<=://)[^\s/?#\"'<>]*@")
_QUERY = re.compile(r"(://[^\s?#\"'<>]*)[?#][^\s\"'<>]*")


def holds_login(address: str) -> bool:
    """Return whether an address has a user, with or without a password."""
    return _LOGIN.search(address) is not None


def without_secrets(text: str) -> str:
    """Return an address, or a text with addresses, without their users, passwords and queries."""
    return _QUERY.sub(r"\1", _LOGIN.sub("", text)) if "://" in text else text


def is_address(text: str) -> bool:
    """Return whether a text is the address of a server: of HTTP, with a host, a port that can be one, and no query."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not re.search(r"[\s?#]", text)
