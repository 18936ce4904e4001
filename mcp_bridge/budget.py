"""Keep a result within what a model can take: long texts and lists are cut, and the result says what is missing."""

from __future__ import annotations

import json
from typing import Any

#: One after another, until the result fits: the longest text in characters, and the most entries of a list or object.
_STEPS = ((4_000, 200), (1_500, 80), (500, 40), (200, 20), (80, 8))
#: What a person waits for keeps up to half of the room.
_FIRST = ("answer", "partial_answer")


def fit(value: dict[str, Any], limit: int, rest: str) -> dict[str, Any]:
    """Return a result of at most about ``limit`` characters of JSON.

    Where something was cut, ``left_out`` names the fields and ``rest`` says where the whole is; ``answer_next`` is the
    character at which the rest of a cut answer begins.
    """
    if _size(value) <= limit:
        return value
    cut = value
    for longest, most in _STEPS:
        cut = {
            name: _text(each, limit // 2) if name in _FIRST else _cut(each, longest, most)
            for name, each in value.items()
        }
        if _size(cut) <= limit:
            break
    while _size(cut) > limit and (largest := _largest(cut)) is not None:
        del cut[largest]
    told: dict[str, Any] = {"left_out": [name for name, each in value.items() if cut.get(name) != each], "rest": rest}
    if "answer" in told["left_out"]:
        told["answer_next"] = value.get("answer_from", 0) + len(cut["answer"]) - 1
    return {**cut, **told}


def _size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False))


def _largest(value: dict[str, Any]) -> str | None:
    """Return the field to drop: of the lists and objects that have something left, the largest."""
    sizes = {name: _size(each) for name, each in value.items() if isinstance(each, list | dict) and each}
    return max(sizes, key=lambda name: sizes[name], default=None)


def _cut(value: Any, longest: int, most: int) -> Any:
    if isinstance(value, str):
        return _text(value, longest)
    if isinstance(value, list):
        return [_cut(each, longest, most) for each in value[:most]]
    if isinstance(value, dict):
        return {name: _cut(each, longest, most) for name, each in list(value.items())[:most]}
    return value


def _text(value: Any, longest: int) -> Any:
    return value if not isinstance(value, str) or len(value) <= longest else value[: longest - 1] + "…"
