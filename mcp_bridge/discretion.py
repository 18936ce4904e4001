"""Errors as callers over HTTP may see them: what our insides are called, and where they are, stays in the log.

Whoever asks may be anybody with a token, or a visitor of a page. Whoever runs the house finds the rest by ``error_id``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from agentic_flywheel.errors import ErrorInfo, FlywheelError
from agentic_flywheel.errors.base import name_of_today
from agentic_flywheel.errors.wording import Wording
from agentic_flywheel.models import Record
from mcp_bridge.owners import current_grant

logger = logging.getLogger(__name__)

#: What is told of an error instead of its own words, by its class; ``{…}`` is when to come again.
_SAID = {
    "BrokerUnavailable": "The queue is away; try again in {retry_after:g} s",
    "BrokerRefused": "The queue refuses to work until whoever runs it has changed something",
    "ServerUnreachable": "The flow's server could not be reached",
    "InvalidProfile": "The profile cannot be used until whoever runs the gateway has mended it",
    "UploadNotKept": "There is no room for the file now; try again in {retry_after:g} s",
    "InvalidRegistry": "The registry of flows cannot be used until whoever runs the gateway has mended it",
}
_NEXT = {
    Wording.HTTP: (
        "Send the request again later; a question with the same `Idempotency-Key`: it is accepted once.",
        "Look at `GET /readyz`: it says whether queries are answered now.",
        "Tell whoever runs the gateway the `error_id`: the log has the reason.",
    ),
    Wording.MCP: (
        "Call the tool again later; with the same `idempotency_key` a question is accepted once.",
        "Ask another flow meanwhile, where one flow's server is away.",
        "Tell whoever runs the bridge the `error_id`: the log has the reason.",
    ),
}
#: Details that tell nothing of the house.
_HARMLESS = ("flow", "query_id", "sent")


def outward(error: FlywheelError | ErrorInfo, query_id: str | None = None) -> ErrorInfo:
    """Return an error as it is told over HTTP; where that is less than it says, the log has all of it."""
    return _discreet(error, Wording.HTTP, query_id).worded(Wording.HTTP)


def told(error: FlywheelError | ErrorInfo) -> ErrorInfo:
    """Return an error as whoever makes this request of the bridge may see it: with a token it may be anybody."""
    if current_grant().token_id:
        return _discreet(error, Wording.MCP).worded(Wording.MCP)
    return (error if isinstance(error, ErrorInfo) else error.describe()).worded(Wording.MCP)


def record_told(record: Record) -> Record:
    """Return a record with its errors as whoever makes this request of the bridge may see them."""
    answer = record.answer
    if answer is not None:
        parts = tuple(each.model_copy(update={"error": each.error and told(each.error)}) for each in answer.parts)
        answer = answer.model_copy(update={"parts": parts})
    return record.model_copy(update={"answer": answer, "error": record.error and told(record.error)})


def _discreet(error: FlywheelError | ErrorInfo, wording: Wording, query_id: str | None = None) -> ErrorInfo:
    info = error if isinstance(error, ErrorInfo) else error.describe(query_id)
    said = _SAID.get(info.error_type)
    if said is None or info.recovery_suggestions in _NEXT.values():
        return info
    if not isinstance(error, ErrorInfo):  # of a record: it was logged where it happened
        logger.warning("%s, error_id %s", info.error, info.error_id)
    details = {name: value for name, value in info.details.items() if name in _HARMLESS}
    text = said.format(retry_after=info.retry_after)
    return info.model_copy(update={"error": text, "details": details, "recovery_suggestions": _NEXT[wording]})


def outward_event(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an event tells, such as why a call is made again, as it is told over HTTP."""
    kind = data.get("error_type")
    if not isinstance(kind, str) or name_of_today(kind) not in _SAID:
        return dict(data)
    return {**data, "error": outward(ErrorInfo(error="", error_type=kind)).error}
