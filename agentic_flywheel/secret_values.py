"""Hide the secrets in a flow's configuration. Whatever shows its values shows them through this."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from agentic_flywheel.addresses import without_secrets

#: Stands for a text that is not shown.
HIDDEN = "(hidden)"
#: Names of values that are secrets if they are texts: `maxOutputTokens` is a number.
_SECRET = re.compile(
    r"key|token|secret|passw|passphrase|pwd|credential|auth(?!or(?!i[sz]))|cookie|session|signature|bearer|jwt|private",
    re.IGNORECASE,
)
#: The same where they are whole words: within a name they are parts of others.
_SECRET_WORDS = frozenset({"cert", "otp", "pass", "pat", "pem", "pin", "sas", "sid", "sig", "signed"})
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")

#: A text that is a login as a header has it, whole.
_HEADER = re.compile(
    r"\s*(?:bearer\s+\S+|(?:basic|digest|token|api-?key|negotiate)\s+(?=\S*[\d=]|\S{16})\S{6,})\s*", re.IGNORECASE
)
#: Secrets that are known by their form, wherever they stand, each with texts of which one is in every match.
_FORMS: tuple[tuple[tuple[str, ...], re.Pattern[str]], ...] = (
    (
        ("PRIVATE KEY",),
        re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY[A-Z ]*-----.*?(?:-----END [A-Z ]*PRIVATE KEY[A-Z ]*-----|\Z)", re.S),
    ),
    (
        ("earer ", "EARER ", "asic ", "ASIC "),
        re.compile(r"(?<=\bbearer )(?=\S*\d|\S{20})[\w.~+/=-]{8,}|(?<=\bbasic )(?=\S*[\d=]|\S{20})[\w+/=-]{8,}", re.I),
    ),
    (
        ("k-", "k_", "gh", "hf_", "xox", "AKIA", "ASIA", "AIza", "glpat-", "eyJ"),
        re.compile(
            r"\b(?:[spr]k-[\w-]{8,}|[spr]k_(?:live|test)_\w{8,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|hf_\w{20,}"
            r"|xox[abeoprs]-[\w-]{10,}|(?:AKIA|ASIA)[0-9A-Z]{16}|AIza[\w-]{30,}|glpat-[\w-]{16,}"
            r"|eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?)"
        ),
    ),
)

#: Fewest characters of a secret: what is shorter stands in many words.
_SHORTEST = 6


def without_secret_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without texts whose names or forms say that they are secret, and without logins in
    addresses."""
    return {name: _shown(value, hidden=_says_secret(name)) for name, value in config.items()}


def secret_texts(config: Mapping[str, Any]) -> list[str]:
    """Return the texts of a configuration that are secret, the longest first, so that each is found whole in a text."""
    found = {text for name, value in config.items() for text in _secrets(value, hidden=_says_secret(name))}
    return sorted((each for each in found if len(each) >= _SHORTEST), key=len, reverse=True)


def _says_secret(name: Any) -> bool:
    """Return whether a name says that its value is secret."""
    text = str(name)
    return bool(_SECRET.search(text)) or not _SECRET_WORDS.isdisjoint(map(str.lower, _WORD.findall(text)))


def _secrets(value: Any, *, hidden: bool) -> Iterator[str]:
    if isinstance(value, str):
        if hidden or _HEADER.fullmatch(value):
            yield value
        if _HEADER.fullmatch(value):
            yield value.split()[-1]
        for form in _forms_in(value):
            yield from form.findall(value)
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from _secrets(each, hidden=hidden or _says_secret(name))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _secrets(each, hidden=hidden)


def without_secrets_in(value: Any) -> Any:
    """Return a JSON value without what ``without_secret_values`` hides, wherever it stands in it."""
    return _shown(value, hidden=False)


def _shown(value: Any, *, hidden: bool) -> Any:
    if isinstance(value, str):
        if value and (hidden or _HEADER.fullmatch(value)):
            return HIDDEN
        for form in _forms_in(value):
            value = form.sub(HIDDEN, value)
        return without_secrets(value)
    if isinstance(value, Mapping):
        if hidden:
            return {name: _shown(each, hidden=True) for name, each in value.items()}
        return without_secret_values(value)
    if isinstance(value, list | tuple):
        return [_shown(each, hidden=hidden) for each in value]
    return value


def _forms_in(text: str) -> list[re.Pattern[str]]:
    """Return the forms of which a text has a sign. Most texts have none, and are not searched."""
    return [form for signs, form in _FORMS if any(sign in text for sign in signs)]
