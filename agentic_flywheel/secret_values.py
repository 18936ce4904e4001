"""Hide the secrets in a flow's configuration. Whatever shows its values shows them through this."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from agentic_flywheel.addresses import without_secrets

#: Stands for a text that is not shown.
HIDDEN = "(hidden)"
#: Names of values that are secrets if they are texts: `maxOutputTokens` is a number.
_SECRET = re.compile(r"key|token|secret|passw|credential|authorization|cookie", re.IGNORECASE)

#: Fewest characters of a secret: what is shorter stands in many words.
_SHORTEST = 6


def without_secret_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without texts whose names say that they are secret, and without logins in addresses."""
    return {name: _shown(value, hidden=_SECRET.search(str(name)) is not None) for name, value in config.items()}


def secret_texts(config: Mapping[str, Any]) -> list[str]:
    """Return the texts of a configuration that are secret, the longest first, so that each is found whole in a text."""
    found = {text for name, value in config.items() for text in _secrets(value, hidden=bool(_SECRET.search(str(name))))}
    return sorted((each for each in found if len(each) >= _SHORTEST), key=len, reverse=True)


def _secrets(value: Any, *, hidden: bool) -> Iterator[str]:
    if isinstance(value, str):
        if hidden:
            yield value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from _secrets(each, hidden=hidden or bool(_SECRET.search(str(name))))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _secrets(each, hidden=hidden)


def without_secrets_in(value: Any) -> Any:
    """Return a JSON value without what ``without_secret_values`` hides, wherever it stands in it."""
    return _shown(value, hidden=False)


def _shown(value: Any, *, hidden: bool) -> Any:
    if isinstance(value, str):
        return HIDDEN if hidden and value else without_secrets(value)
    if isinstance(value, Mapping):
        if hidden:
            return {name: _shown(each, hidden=True) for name, each in value.items()}
        return without_secret_values(value)
    if isinstance(value, list | tuple):
        return [_shown(each, hidden=hidden) for each in value]
    return value
