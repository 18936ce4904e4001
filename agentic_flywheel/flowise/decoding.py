"""Decode the JSON of a server that writes JavaScript strings, which may hold half a character."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any


def decode_json(body: bytes | str) -> Any:
    """Return the decoded value with every string fit for UTF-8. Raises ValueError, also for absurdly deep nesting."""
    try:
        value = json.loads(body)
        # In Latin-1 every byte is a character: to look for an escape, the text need not be decoded.
        text = body.decode("latin-1") if isinstance(body, bytes) else body
        return whole(value) if "\\ud" in text or "\\uD" in text else value
    except RecursionError:
        raise ValueError("nested too deeply") from None


def whole(value: Any) -> Any:
    """Return the value with the halves of characters joined, or replaced where the other half is missing.

    JavaScript cuts strings between UTF-16 units, so a token of a stream can end inside an emoji.
    """
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return value
    if isinstance(value, list):
        return [whole(each) for each in value]
    if isinstance(value, dict):
        return {whole(key): whole(each) for key, each in value.items()}
    return value


def instant(value: Any) -> datetime | None:
    """Return the moment of an ISO 8601 text with a time zone, else None."""
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else None
