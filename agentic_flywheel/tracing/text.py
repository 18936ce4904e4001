"""Texts of a trace: values become text, long texts are cut, secrets and e-mail addresses are removed."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable
from typing import Any

from agentic_flywheel.errors import InvalidSetting

Mask = Callable[[str], str]

MASKING_FAILED = "[not shown: masking failed]"

_REDACTED = "[redacted]"
#: Expressions to search for, each with short texts of which one is contained in every match: so most texts are not
#: searched at all. Those of the first table are in lower case.
_ANY_CASE: tuple[tuple[tuple[str, ...], re.Pattern[str], str], ...] = (
    (("bearer ", "basic "), re.compile(r"(?i)\b(bearer|basic)\s+(?=\S*\d|\S{20})[\w.~+/=-]{8,}"), rf"\1 {_REDACTED}"),
    (
        ("key", "secret", "token", "passw", "passphrase", "authorization"),
        re.compile(
            r"(?i)((?:api[_-]?key|secret(?:[_-]?key)?|access[_-]?key|token|passw(?:or)?d|passphrase|authorization)"
            r"\\?[\"']?\s*[:=]\s*\\?[\"']?)(?!\[redacted\]|(?:bearer|basic)\b)[^\s\"'\\,;&}]{4,}"
        ),
        rf"\1{_REDACTED}",
    ),
)
_AS_WRITTEN: tuple[tuple[tuple[str, ...], re.Pattern[str], str], ...] = (
    (
        ("PRIVATE KEY-----",),
        re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S),
        _REDACTED,
    ),
    (("://",), re.compile(r"://[^\s/@:]*:[^\s/@]+@"), rf"://{_REDACTED}@"),
    (
        ("k-", "_", "xox", "AKIA", "ASIA", "AIza", "glpat-", "eyJ"),
        re.compile(
            r"\b(?:[spr]k-[\w-]{16,}|[spr]k_(?:live|test)_\w{16,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|hf_\w{20,}"
            r"|xox[abeoprs]-[\w-]{10,}|(?:AKIA|ASIA)[0-9A-Z]{16}|AIza[\w-]{30,}|glpat-[\w-]{16,}"
            r"|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{4,})"
        ),
        _REDACTED,
    ),
    (("@",), re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+"), "[e-mail]"),
)


def redact(text: str) -> str:
    """Return a text without the keys, tokens, passwords and e-mail addresses that have a known form."""
    lowered = text.lower()
    for signs, pattern, replacement in _ANY_CASE:
        for sign in signs:
            if sign in lowered:
                text = pattern.sub(replacement, text)
                break
    for signs, pattern, replacement in _AS_WRITTEN:
        for sign in signs:
            if sign in text:
                text = pattern.sub(replacement, text)
                break
    return text


def as_text(value: Any) -> str:
    """Return a text unchanged, and any other value as JSON."""
    return value if isinstance(value, str) else _encode(value)


def _plain(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    return dump(mode="json") if dump is not None else str(value)


_encode = json.JSONEncoder(default=_plain, ensure_ascii=False).encode


def load_mask(name: str) -> Mask | None:
    """Return the mask that a setting names: ``off``, ``redact`` or ``module:function``. Raises InvalidSetting."""
    if name == "off":
        return None
    if name == "redact":
        return redact
    module, _, attribute = name.partition(":")
    try:
        found: Mask = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as why:
        raise InvalidSetting("FLYWHEEL_TRACE_MASK", f"{name!r} is not off, redact or module:function ({why})") from None
    if not callable(found):
        raise InvalidSetting("FLYWHEEL_TRACE_MASK", f"{name!r} is not a function")
    return found


def masked(text: str, mask: Mask | None) -> str:
    """Return a masked text. The mask may be a user's code; where it raises, the text is replaced as a whole."""
    if mask is None:
        return text
    try:
        return mask(text)
    except Exception:
        return MASKING_FAILED
