"""Follow JSON pointers (RFC 6901) into documents that others wrote."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from pydantic import JsonValue

from agentic_flywheel.http_flows import Frame, Pointer


class Nothing(Enum):
    """Stands for a value that is not there; null is one that is."""

    NOTHING = "nothing"


NOTHING: Final = Nothing.NOTHING


def at(document: Any, pointer: Pointer) -> Any:
    """Return the value that a pointer leads to; NOTHING where it leads nowhere."""
    found = document
    for step in pointer.split("/")[1:]:
        if isinstance(found, dict):
            found = found.get(step.replace("~1", "/").replace("~0", "~"), NOTHING)
        elif isinstance(found, list) and _is_position(step) and int(step) < len(found):
            found = found[int(step)]
        else:
            return NOTHING
    return found


def _is_position(step: str) -> bool:
    return step.isascii() and step.isdecimal() and len(step) < 10 and (step == "0" or step[0] != "0")


def holds(document: Any, conditions: Mapping[str, JsonValue]) -> bool:
    """Return whether each pointer leads to its value, or to one of its values."""
    return all(is_one_of(at(document, pointer), value) for pointer, value in conditions.items())


def is_one_of(found: Any, expected: JsonValue) -> bool:
    """Return whether a value is the expected one, or in the list of those expected."""
    if found is NOTHING:
        return False
    return any(_same(found, each) for each in expected) if isinstance(expected, list) else _same(found, expected)


def _same(found: Any, expected: JsonValue) -> bool:
    # To Python, true is 1.
    return bool(found == expected) and isinstance(found, bool) == isinstance(expected, bool)


def is_meant(frame: Frame | None, event: str, document: Any) -> bool:
    """Return whether a stream's frame, of this event's name, is one that the rule means."""
    if frame is None:
        return False
    if frame.event is not None and event not in (frame.event if isinstance(frame.event, tuple) else (frame.event,)):
        return False
    return holds(document, frame.when or {})
