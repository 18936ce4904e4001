"""How a request says who sends it: by the user in an address, or by a key in a header. Decides only."""

from __future__ import annotations

import base64
from collections.abc import Collection

from yarl import URL

AUTHORIZATION = "Authorization"


def login_of(url: URL, header: str) -> dict[str, str]:
    """Return the login in an address as a header; nothing where it has none."""
    if url.raw_user is None and url.raw_password is None:
        return {}
    login = base64.b64encode(f"{url.user or ''}:{url.password or ''}".encode())
    return {header: f"Basic {login.decode()}"}


def unfit_key(secret: str, header: str, login: Collection[str], given: Collection[str]) -> str:
    """Return why a key cannot be sent in a header; empty where it can.

    ``login``: the header of the address's own user; ``given``: the names of those of the registry.
    """
    if header in login:
        return (
            "its server's address holds a user and a password, and an API key is set too; "
            "both would be the Authorization header: take one of them away"
        )
    if header.lower() in {each.lower() for each in given}:
        return f"its server's headers have an {header}, and an API key is set too: take one of them away"
    return "" if secret.isprintable() else "it holds a character that no header can carry, such as the end of a line"
