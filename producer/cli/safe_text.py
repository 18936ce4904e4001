"""Make text from users and flows safe for a terminal: nothing in it is executed, hidden or reordered."""

from __future__ import annotations

import json
import re
from typing import Any

#: Control characters but tab and newline, lone surrogates, and marks that reorder or hide what a reader sees.
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def clean(text: str) -> str:
    """Return text without characters that control a terminal."""
    return _UNSAFE.sub("", text)


def one_line(text: str, limit: int = 0) -> str:
    """Return clean text on one line, of at most ``limit`` characters; 0: of any length."""
    flat = " ".join(clean(text).split())
    return flat if not limit or len(flat) <= limit else flat[: limit - 1] + "…"


def json_line(value: Any) -> str:
    """Return a value as JSON on one line; unsafe characters are escaped, so a terminal can show it too."""
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))
