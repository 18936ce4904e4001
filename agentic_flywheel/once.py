"""Refuse JSON in which an object has a key twice: of its two values, nobody knows which one counts."""

from __future__ import annotations

from typing import Any


class GivenTwice(ValueError):
    """An object has a key twice."""


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of these pairs; an ``object_pairs_hook`` of ``json``. Raises GivenTwice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for number, name in enumerate(names) if name in names[:number])
        raise GivenTwice(f"the key {twice[:80]!r} is given twice")
    return found
