"""What a server of flows is sent, and nobody else may see."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from yarl import URL

from agentic_flywheel.addresses import holds_login
from agentic_flywheel.backends.logins import AUTHORIZATION, login_of
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import InvalidSetting
from agentic_flywheel.secret_values import secret_texts
from agentic_flywheel.settings import Settings, header_values, key_of


def sent_secrets(flow: Flow, settings: Settings) -> tuple[str, ...]:
    """Return the secrets that a flow's calls carry, each once, the longest first.

    They are its key, what its server's address and headers hold, and what the registry has in its configuration and in
    the headers of its requests. What a question brings is its asker's own.
    """
    key, server = key_of(flow, settings), flow.served_by
    found = [key.get_secret_value()] if key else []
    found += header_secrets(server.headers) if server else []
    found += _login_secrets(server.address if server else flow.server or settings.flowise_base_url or "")
    found += flow.secrets
    return tuple(sorted(set(found), key=len, reverse=True))


def header_secrets(headers: Mapping[str, str]) -> list[str]:
    """Return the secrets in a server's headers: values of variables, and texts whose names or forms say so."""
    if not headers:
        return []
    with suppress(InvalidSetting):  # then nothing is sent
        given, of_variables = header_values(headers)
        return [*of_variables, *secret_texts(given)]
    return []


def _login_secrets(address: str) -> list[str]:
    """Return the password in an address, and the login as a header has it."""
    if not holds_login(address):
        return []
    url = URL(address)
    login = login_of(url, AUTHORIZATION).values()
    return [*filter(None, [url.password]), *(each.split()[-1] for each in login)]
