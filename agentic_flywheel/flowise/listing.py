"""Read what Flowise tells about its flows: which there are, and what their owners allow."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from agentic_flywheel.flowise.decoding import decode_json, instant
from agentic_flywheel.flowise.models import Chatflow, Feedback, ServerRate


def read_chatflow(found: Any) -> Chatflow:
    """Return one listed flow. Raises ValueError where it is none."""
    if not isinstance(found, dict) or not isinstance(found.get("id"), str):
        raise ValueError("a flow without an id")
    settings = _settings(found.get("apiConfig"))
    override = _dict(settings.get("overrideConfig"))
    enabled = override.get("status") is True
    return Chatflow(
        id=found["id"],
        name=str(found.get("name") or ""),
        kind=str(found.get("type") or "CHATFLOW"),
        deployed=found.get("deployed") is True,
        public=found.get("isPublic") is True,
        keyed=bool(found.get("apikeyid")),
        overrides=enabled,
        overridable=_overridable(override) if enabled else (),
        rate=_rate(_dict(settings.get("rateLimit"))),
        updated=instant(found.get("updatedDate")),
    )


def read_chatflows(found: Any) -> tuple[Chatflow, ...]:
    """Return all listed flows, from the plain list or one page of it. Raises ValueError."""
    listed = found.get("data") if isinstance(found, dict) else found
    if not isinstance(listed, list):
        raise ValueError("no list of flows")
    return tuple(read_chatflow(each) for each in listed)


def read_feedback(found: Any) -> Feedback:
    """Return one stored verdict. Raises ValueError where it is none."""
    if not isinstance(found, dict) or not isinstance(found.get("id"), str):
        raise ValueError("a feedback without an id")
    return Feedback(
        id=found["id"],
        chat_id=str(found.get("chatId") or ""),
        message_id=str(found.get("messageId") or ""),
        rating=found.get("rating") or "THUMBS_UP",
        content=str(found.get("content") or ""),
        created=instant(found.get("createdDate")),
    )


def _settings(value: Any) -> dict[str, Any]:
    """``apiConfig`` is JSON inside JSON."""
    if isinstance(value, str):
        try:
            value = decode_json(value)
        except ValueError:
            return {}
    return _dict(value)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _overridable(override: dict[str, Any]) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for settings in _dict(override.get("nodes")).values():
        for each in settings if isinstance(settings, list) else []:
            if isinstance(each, dict) and each.get("enabled") is True and isinstance(each.get("name"), str):
                names[each["name"]] = None
    variables = override.get("variables")
    if any(isinstance(each, dict) and each.get("enabled") is True for each in variables or []):
        names["vars"] = None
    return tuple(names)


def _rate(limit: dict[str, Any]) -> ServerRate | None:
    if limit.get("status") is not True:
        return None
    try:
        return ServerRate(calls=int(limit["limitMax"]), period=timedelta(seconds=float(limit["limitDuration"])))
    except (KeyError, TypeError, ValueError):
        return None
