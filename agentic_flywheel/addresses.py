"""Take the secrets out of addresses. Whatever shows an address, or a text that may hold one, shows it through this."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pydantic import SecretStr

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
        # Whoever looks the host up encodes it so: two dots in a row, or a part of more than 63 characters, fail there.
        host = (parts.hostname or "").encode("idna")
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(host) and not re.search(r"[\s?#]", text)


def checked_address(text: str) -> str:
    """Return the address of a server of HTTP as it stands. Raises ValueError."""
    if not is_address(text):
        raise ValueError(
            "an address begins with http:// or https:// and names a host; its port is 65535 at most; it has no query"
        )
    return text


def checked_place(text: str) -> str:
    """Return the address of a folder or bucket of files as it stands. Raises ValueError."""
    if not re.match(r"[a-z0-9+]+://", text):
        raise ValueError("should be a folder or a bucket, such as file:///srv/files or s3://bucket/files")
    return text


def checked_logins(secret: SecretStr) -> SecretStr:
    """Return the logins to a page as they stand. Raises ValueError."""
    logins = (each.partition(":") for each in secret.get_secret_value().split(","))
    if not all(user and password for user, _, password in logins):
        raise ValueError("should be user:password; more of them behind commas")
    return secret
