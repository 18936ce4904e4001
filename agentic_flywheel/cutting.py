"""Cut what is too long, and say how much is missing."""

from __future__ import annotations

import json
import re
from typing import Any

#: Characters of one word in a complaint.
MAX_WORD = 200
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]+")
_LONG_WORD = re.compile(rf"\S{{{MAX_WORD + 1},}}")
_WRITE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def cut(text: str, limit: int) -> str:
    """Return at most ``limit`` characters of a text, followed by how many are missing.

    The cut is before a word: the first half of a secret would not be recognised by a mask.
    """
    if len(text) <= limit:
        return text
    space = text.rfind(" ", max(0, limit - 256), limit)
    kept = text[: space if space > 0 else limit]
    return f"{kept}… [{len(text) - len(kept)} characters more]"


def on_one_line(text: str) -> str:
    """Return a text without line ends and control characters: where they were, and for other white space, one space."""
    return " ".join(_CONTROL.sub(" ", text).split())


def cut_value(value: Any, limit: int) -> Any:
    """Return a JSON value whose JSON has at most ``limit`` characters; a longer one becomes a text, which is cut."""
    if isinstance(value, str):
        return cut(value, limit)
    written = _WRITE(value) if isinstance(value, dict | list | tuple) else ""
    return cut(written, limit) if len(written) > limit else value


def cut_words(text: str) -> str:
    """Return a sentence in which no word is longer than a name may be: what was quoted of a file can be anything."""
    return _LONG_WORD.sub(lambda word: f"{word[0][:MAX_WORD]}…", text)


def written_length(value: Any) -> int:
    """Return how many characters a JSON value takes."""
    return len(value) if isinstance(value, str) else len(_WRITE(value))
