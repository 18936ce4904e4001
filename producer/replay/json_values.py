"""One value of JSON, strictly: no key twice, no NaN, every number as it was written."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from agentic_flywheel.once import once
from agentic_flywheel.written import Number


def parse(text: str) -> Any:
    """Return the value that a text is. Raises ValueError, in words that follow `it is not JSON: `."""
    value, end = decoded(text, 0)
    if text[end:].strip():
        raise ValueError(f"something follows its end, at character {end + 1}")
    return value


def decoded(text: str, at: int) -> tuple[Any, int]:
    """Return the value that begins at a place, and where it ends. Raises ValueError as ``parse`` does."""
    try:
        return _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as refused:
        whole = len(text.rstrip())
        cut = refused.pos >= whole or refused.msg.startswith("Unterminated")
        why = "it is cut off" if cut else refused.msg.removesuffix(" at")
        raise ValueError(f"{why}, at character {min(refused.pos, whole) + 1}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"a number of {len(text)} digits is too large") from None


_DECODER = json.JSONDecoder(
    object_pairs_hook=once, parse_float=Number, parse_int=_whole, parse_constant=_constant, strict=True
)
