"""Make text from users and flows safe for a terminal: nothing in it is executed, hidden or reordered."""

from __future__ import annotations

import json
import re
from typing import Any

#: Control characters but tab and newline, lone surrogates, and marks that reorder or hide what a reader sees.
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


#: A letter of a script that is written from right to left.
_RIGHT_TO_LEFT = re.compile(r"[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\U00010800-\U00010fff\U0001e800-\U0001efff]")
_FIRST_STRONG_ISOLATE, _POP = "\u2068", "\u2069"


def clean(text: str) -> str:
    """Return text without characters that control a terminal."""
    return _UNSAFE.sub("", text)


def isolated(text: str) -> str:
    """Return clean text that stands beside others, which text from right to left does not reorder then (UAX 9)."""
    shown = clean(text)
    return f"{_FIRST_STRONG_ISOLATE}{shown}{_POP}" if _RIGHT_TO_LEFT.search(shown) else shown


def one_line(text: str, limit: int = 0) -> str:
    """Return clean text on one line, of at most ``limit`` characters; 0: of any length."""
    flat = " ".join(clean(text).split())
    return flat if not limit or len(flat) <= limit else flat[: limit - 1] + "…"


def json_line(value: Any) -> str:
    """Return a value as JSON on one line; unsafe characters are escaped, so a terminal can show it too."""
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))
