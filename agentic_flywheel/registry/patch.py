"""What a change to a registry is, and what the registry says after it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import reduce
from typing import Any, NamedTuple

from agentic_flywheel.registry.document import Where


class Item(NamedTuple):
    """Change one item of a list."""

    number: int
    change: Any


class Append(NamedTuple):
    """Add an item to a list."""

    item: Any


#: A mapping is changed key by key and None removes (RFC 7396); Item and Append change a list; anything else replaces.
Change = Any


def at(where: Where, change: Change) -> Change:
    """Return the change of the whole that makes this change at one place."""
    return reduce(
        lambda inner, step: Item(step, inner) if isinstance(step, int) else {step: inner}, reversed(where), change
    )


def patched(data: Any, change: Change) -> Any:
    """Return the data after the change."""
    if isinstance(change, Item):
        return [patched(each, change.change) if n == change.number else each for n, each in enumerate(data)]
    if isinstance(change, Append):
        return [*(data or []), change.item]
    if not isinstance(change, Mapping):
        return change
    result = dict(data) if isinstance(data, dict) else {}
    for key, inner in change.items():
        if inner is None:
            result.pop(key, None)
        else:
            result[key] = patched(result.get(key), inner)
    return result


def same(one: Any, other: Any) -> bool:
    """Return whether two values are the same as JSON, in which 1, 1.0 and true differ."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
