"""Decode the JSON of a server that writes JavaScript strings, which may hold half a character."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from pydantic_core import from_json

#: Values in one JSON text: an empty list takes two bytes there and fifty in memory.
MAX_VALUES = 2_000_000


def decode_json(body: bytes | str) -> Any:
    """Return the decoded value with every string fit for UTF-8. Raises ValueError as ``parse_json`` does."""
    _refuse_too_many(body)
    try:
        return from_json(body)
    except ValueError:  # it holds half a character, or is another encoding's; or it is no JSON
        value = parse_json(body)
    # In Latin-1 every byte is a character: to look for an escape, the text need not be decoded.
    text = body.decode("latin-1") if isinstance(body, bytes) else body
    try:
        return whole(value) if "\\ud" in text or "\\uD" in text else value
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_json(body: bytes | str) -> Any:
    """Return the value as it stands there. Raises ValueError, also for absurdly many values and deep nesting."""
    _refuse_too_many(body)
    try:
        return json.loads(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse_too_many(body: bytes | str) -> None:
    # Each value but the first follows one of these marks. JSON in a text of JSON was counted with it.
    if len(body) > MAX_VALUES and isinstance(body, bytes) and sum(map(body.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise ValueError("too many values")


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


def part_of(value: Any) -> dict[str, Any]:
    """Return an object that may be JSON inside JSON, such as ``apiConfig``; empty where it is none."""
    if isinstance(value, str):
        try:
            value = decode_json(value)
        except ValueError:
            return {}
    return value if isinstance(value, dict) else {}


def objects_in(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a list; empty where it is none."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
