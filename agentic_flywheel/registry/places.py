"""Where in a registry file a text of a flow stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentic_flywheel.registry.document import Document
from agentic_flywheel.registry.sections import Entry, entries_of


def line_of(document: Document, flow: str, way: Sequence[str] = (), text: str = "") -> int:
    """Return the line of a flow, of the key that ``way`` leads to in it, or of the text in the list there."""
    found = [each for each in entries_of(document.data) if isinstance(each, Entry) and each.key == flow]
    if not found:
        return 1
    entry = min(found, key=lambda each: each.shelved)
    value: Any = entry.fields
    for step in way:
        value = value.get(step) if isinstance(value, dict) else None
    where = (*entry.where, *way)
    if isinstance(value, list) and text in value:
        return document.line_of((*where, value.index(text)))
    return document.line_of(where)
