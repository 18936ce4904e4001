"""Refuse JSON in which an object has a key twice: of its two values, nobody knows which one counts."""

from __future__ import annotations

from collections import Counter
from typing import Any


class GivenTwice(ValueError):
    """An object has a key twice."""


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of these pairs; an ``object_pairs_hook`` of ``json``. Raises GivenTwice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        # Counted in one pass: an object of 100,000 keys must not stop everybody else.
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise GivenTwice(f"the key {twice[:80]!r} is given twice")
    return found
