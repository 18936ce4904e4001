"""Which characters a text from outside may hold: decided here alone, since every entrance passes the `Query` model.

Refused is what cannot be stored or shown: lone surrogates, NUL, and control characters other than tab and line ends.
Everything else is somebody's writing and stays as it was typed: joiners in emoji and Persian, marks of direction in
Arabic and Hebrew, also embeddings, isolates and overrides, which phones and chat programs put around names and numbers.
Whoever shows a text removes those (`producer.cli.safe_text`). A *name* is compared by eye and stands in headers and
lines, so it must not hold what nobody sees, what reorders it, tabs and line ends.
"""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Any

#: Levels of objects and lists within each other that are accepted in JSON from outside.
MAX_DEPTH = 32
#: Bits of a whole number: a larger one is infinite in whatever reads JSON's numbers as IEEE 754 doubles.
_MAX_BITS = 1023

_REFUSED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
#: Tab, line ends, zero width (but the joiners), fillers, marks of direction, embeddings, overrides, isolates, the
#: byte order mark.
_UNSEEN = re.compile(
    "[\t\n\r\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f]"
    "|[\u2800\u3164\ufeff\uffa0]"
)
#: A text that has nothing but white space and what is not seen by itself, also where Python calls that a letter.
_BLANK = re.compile(
    r"(?:\s|[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f]"
    "|[\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb]"
    "|[\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff])*"
)
_BOM = "\ufeff"


def fault_in(text: str) -> str | None:
    """Return why a text is not acceptable, with the position of the character counted from 1; None: it is."""
    # What Python calls printable holds neither these nor what a name must not hold; to ask that is ten times as quick.
    found = None if text.isprintable() else _REFUSED.search(text)
    return found and _told(text, found.start(), "can be neither stored nor shown")


def fault_in_name(text: str) -> str | None:
    """Return why a text cannot be a name, such as a session's or a user's; None: it can."""
    if text.isascii() and text.isprintable():
        return None
    found = _UNSEEN.search(text)
    return fault_in(text) or (found and _told(text, found.start(), "cannot be seen, so it cannot be part of a name"))


def fault_in_value(value: Any) -> str | None:
    """Return why a value is not acceptable JSON from outside: its characters, its numbers, its depth. None: it is."""
    if (found := place_of_fault(value)) is None:
        return None
    place, fault = found
    return f"`{place}`: {fault}" if place else fault


def place_of_fault(value: Any) -> tuple[str, str] | None:
    """Return where in such a value the fault is, as `history.0.content`, and the fault; empty: in all of it."""
    # Each with the way to it, as a chain of names: it becomes a text only where there is a fault to tell.
    waiting: list[tuple[Any, _Way | None, int]] = [(value, None, 0)]
    while waiting:
        each, way, depth = waiting.pop()
        fault = None
        if isinstance(each, str):
            fault = fault_in(each)
        elif isinstance(each, float):
            fault = None if math.isfinite(each) else "should be a finite number"
        elif isinstance(each, int):
            fault = None if each.bit_length() <= _MAX_BITS else "is too large a number"
        elif isinstance(each, dict | list | tuple):
            if depth >= MAX_DEPTH:
                return "", f"is nested more than {MAX_DEPTH} levels deep"
            inner = list(each.items() if isinstance(each, dict) else enumerate(each))
            fault = next(filter(None, (fault_in(name) for name, _ in inner if isinstance(name, str))), None)
            # The first fault in the text's order is told.
            waiting += [(child, (way, name), depth + 1) for name, child in reversed(inner)]
        if fault is not None:
            return _written(way), fault
    return None


#: The way to a value in JSON: the way to what holds it, and its name or number there.
_Way = tuple[Any, object]


def _written(way: _Way | None) -> str:
    names = []
    while way is not None:
        way, name = way
        names.append(_shown(name))
    return ".".join(reversed(names))


def without_mark(text: str) -> str:
    """Return a text without the byte order mark at its beginning, which belongs to a file and not to what it says."""
    return text.removeprefix(_BOM)


def is_blank(text: str) -> bool:
    """Whether nothing of a text would be seen: white space, joiners, marks."""
    return _BLANK.fullmatch(text) is not None


def _told(text: str, at: int, why: str) -> str:
    code = ord(text[at])
    kind = "half of a surrogate pair" if 0xD800 <= code <= 0xDFFF else unicodedata.name(text[at], "control character")
    return f"U+{code:04X} ({kind.lower()}) at position {at + 1} {why}"


def _shown(name: object) -> str:
    return _REFUSED.sub("?", str(name))[:40]
