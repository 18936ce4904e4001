"""Make another program's words fit for an error: short, on one line, without what is secret."""

from __future__ import annotations

import re
from collections.abc import Iterable

from agentic_flywheel.cutting import on_one_line

#: Characters of a reason.
MAX_REASON = 300
#: Of so many characters one may be lost, where bytes are quoted as text; else they are none.
_MOST_LOST = 10

_KEYS = re.compile(
    r"""(?ix)
    \b(?:(?:sk|pk|rk|gsk|xai|hf|ghp)[-_]|AIza)[A-Za-z0-9_\-*]+                # a provider's key, whole or starred
    | (?<=bearer\s)\S+
    | (?<=api[-_\s]key[:=])\s*\S+
    | (?<=provided:)\s*\S+
    | (?<=://)[^/\s@]+(?=@)                                                     # credentials in an address
    """
)


def clean(text: str, *, secrets: Iterable[str] = ()) -> str:
    """Return text fit for an error: one short line without control characters, keys or credentials.

    ``secrets``: what was sent and is not to be quoted.
    """
    for secret in secrets:
        text = text.replace(secret, "***")
    # Cut first, generously: a page of megabytes need not be searched for keys.
    text = without_keys(text[: 10 * MAX_REASON])
    text = on_one_line(text)
    if text.count("\ufffd") * _MOST_LOST > len(text):
        return "(no text)"
    return text if len(text) <= MAX_REASON else text[: MAX_REASON - 1] + "…"


def without_keys(text: str) -> str:
    """Return a text without the keys and credentials that have a known form."""
    return _KEYS.sub("***", text)
