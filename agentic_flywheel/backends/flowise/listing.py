"""Read what Flowise tells about its flows: which there are, and what their owners allow."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from agentic_flywheel.backends.contents import name_of
from agentic_flywheel.backends.decoding import instant, objects_in, part_of
from agentic_flywheel.backends.flowise.about import read_about
from agentic_flywheel.backends.flowise.forms import form_of, nodes_of
from agentic_flywheel.backends.flowise.models import Chatflow, Feedback, ServerRate, UploadsAccepted


def read_chatflow(found: Any) -> Chatflow:
    """Return one listed flow. Raises ValueError where it is none."""
    if not isinstance(found, dict) or not (found.get("id") and name_of(found["id"]) == found["id"]):
        raise ValueError("a flow without an id")
    settings = part_of(found.get("apiConfig"))
    override = part_of(settings.get("overrideConfig"))
    enabled = override.get("status") is True
    variables = _enabled(override.get("variables")) if enabled else ()
    nodes = nodes_of(found.get("flowData"))
    return Chatflow(
        id=found["id"],
        name=name_of(found.get("name")),
        kind=name_of(found.get("type")) or "CHATFLOW",
        deployed=found.get("deployed") is True,
        public=found.get("isPublic") is True,
        keyed=bool(found.get("apikeyid")),
        overrides=enabled,
        overridable=(*_overridable(override), *(["vars"] if variables else [])) if enabled else (),
        variables=variables,
        start=_start(nodes),
        form=form_of(found.get("flowData")),
        asks_person=any(map(_asks_person, nodes)),
        rate=_rate(part_of(settings.get("rateLimit"))),
        updated=instant(found.get("updatedDate")),
        category=name_of(found.get("category")),
        about=read_about(part_of(found.get("chatbotConfig")), part_of(found.get("mcpServerConfig")), nodes),
    )


def read_chatflows(found: Any) -> tuple[Chatflow, ...]:
    """Return all listed flows, from the plain list or one page of it. Raises ValueError."""
    return page_of(found)[0]


def page_of(found: Any) -> tuple[tuple[Chatflow, ...], int]:
    """Return the flows of one page and how many there are in all. A plain list, of older servers, is the only page.

    Raises ValueError.
    """
    listed = found.get("data") if isinstance(found, dict) else found
    if not isinstance(listed, list):
        raise ValueError("no list of flows")
    flows = tuple(read_chatflow(each) for each in listed)
    total = found.get("total") if isinstance(found, dict) else None
    return flows, total if isinstance(total, int) else len(flows)


def read_accepted(found: Any) -> UploadsAccepted:
    """Return which uploads a flow takes. Raises ValueError."""
    if not isinstance(found, dict) or "isImageUploadAllowed" not in found:
        raise ValueError("nothing about uploads")
    images = objects_in(found.get("imgUploadSizeAndTypes")) if found["isImageUploadAllowed"] is True else []
    types = {each for listed in images for each in listed.get("fileTypes") or () if isinstance(each, str) and each}
    most = max((float(each.get("maxUploadSize") or 0) for each in images), default=0.0)
    return UploadsAccepted(
        images=frozenset(types), image_bytes=int(most * 2**20), speech=found.get("isSpeechToTextEnabled") is True
    )


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


def _overridable(override: dict[str, Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for each in part_of(override.get("nodes")).values() for name in _enabled(each)))


def _enabled(settings: Any) -> tuple[str, ...]:
    return tuple(
        filter(None, (name_of(each.get("name")) for each in objects_in(settings) if each.get("enabled") is True))
    )


def _start(nodes: list[dict[str, Any]]) -> str:
    starts = [
        part_of(node.get("inputs")).get("startInputType") for node in nodes if node.get("name") == "startAgentflow"
    ]
    return next((each for each in starts if isinstance(each, str) and each), "chatInput")


def _asks_person(node: dict[str, Any]) -> bool:
    """A node of its own asks, or an agent that needs leave for a tool."""
    tools = part_of(node.get("inputs")).get("agentTools")
    return node.get("name") == "humanInputAgentflow" or any(
        bool(part_of(tool).get("agentSelectedToolRequiresHumanInput"))
        for tool in (tools if isinstance(tools, list) else ())
    )


def _rate(limit: dict[str, Any]) -> ServerRate | None:
    if limit.get("status") is not True:
        return None
    try:
        return ServerRate(calls=int(limit["limitMax"]), period=timedelta(seconds=float(limit["limitDuration"])))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
