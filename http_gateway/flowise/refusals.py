"""Say in Flowise's form why a request is refused, or why a query has no answer."""

from __future__ import annotations

import json

from starlette.responses import Response
from starlette.types import Scope

from agentic_flywheel.errors import ErrorInfo, FlywheelError
from http_gateway.callers import GRANT
from http_gateway.flowise.frames import refusal
from http_gateway.problems import headers_of, status_of
from http_gateway.streams import HEADERS
from mcp_bridge.discretion import outward

#: Statuses that Flowise has where we have another one: its clients know these.
_STATUS = {"UnknownFlow": 404, "InvalidDecision": 400, "InvalidQuery": 400, "InvalidRequest": 400}
#: What visitors are told, by the kind of the error: nothing of how the house is built.
_DISCREET = {
    "AlreadyDecided": "This was decided before.",
    "DeadlineExceeded": "There was no answer in time. Please ask again.",
    "DecisionNotTaken": "This cannot be decided at the moment. Please try again later.",
    "EarlierTurnAsks": "Please decide first: a question above waits for your decision.",
    "FlowTimeout": "There was no answer in time. Please ask again.",
    "GatewayStopping": "The chat is being restarted. Please ask again in a minute.",
    "NobodyDecided": "Nobody has decided in time. Please ask again.",
    "NothingToDecide": "There is nothing to decide here any more.",
    "OriginRefused": "This page may not use this chat.",
    "OwnerLimitReached": "There are too many questions just now. Please try again in a minute.",
    "QueryCancelled": "The question was stopped.",
    "QueueFull": "There are too many questions just now. Please try again in a minute.",
    "TokenNeeded": "Unauthorized",
}
#: What they are told of all other errors: of a fault that passes or is mended, and of what they asked.
_OF_OURS = "There is no answer at the moment. Please try again later."
_OF_THE_VISITORS = "This chat cannot do that."
#: Errors about what the visitor has sent: they name it and nothing else.
_ABOUT_REQUEST = (
    "InvalidDecision",
    "InvalidQuery",
    "InvalidRequest",
    "MalformedRequest",
    "NothingThere",
    "RequestTooLarge",
    "RequestTooSlow",
    "UploadLost",
)


def said_of(info: ErrorInfo, *, discreet: bool = False) -> str:
    """Return an error as one text. ``discreet``: for somebody who has no token."""
    if discreet and info.error_type not in _ABOUT_REQUEST:
        said = _DISCREET.get(info.error_type) or (_OF_OURS if _may_pass(info) else _OF_THE_VISITORS)
        # With it, whoever runs the house finds the query.
        return f"{said} ({info.query_id})" if info.query_id and info.error_type not in _DISCREET else said
    first = f" {info.recovery_suggestions[0]}" if info.recovery_suggestions and not discreet else ""
    return f"{info.error.rstrip('.')}.{first}"


def _may_pass(info: ErrorInfo) -> bool:
    return info.retry_after > 0 or status_of(info) >= 429


def refusal_of(info: ErrorInfo, status: int) -> Response:
    """Return the response to a plain request that is refused."""
    return _plain(info, _STATUS.get(info.error_type, status), discreet=False)


def cut(info: ErrorInfo, scope: Scope) -> bytes:
    """Return the last frames of a stream that an error has cut."""
    return refusal(said_of(info, discreet=scope.get(GRANT) is None))


def refused(error: FlywheelError | ErrorInfo, *, streamed: bool, discreet: bool = False) -> Response:
    """Return the response to a prediction that is refused. On a stream it has the status 200: with any other one the
    widget shows nothing."""
    info = outward(error)
    if streamed:
        return Response(refusal(said_of(info, discreet=discreet)), 200, HEADERS, "text/event-stream")
    return _plain(info, _STATUS.get(info.error_type, status_of(info)), discreet=discreet)


def _plain(info: ErrorInfo, status: int, *, discreet: bool) -> Response:
    said = said_of(info, discreet=discreet)
    headers = headers_of(info, status)
    if status == 429:
        # The widget shows the body as it is, as it shows Flowise's.
        return Response(said, status, headers, "text/plain")
    told: dict[str, object] = {"statusCode": status, "success": False, "message": said, "stack": {}}
    if not discreet:
        told["details"] = info.model_dump(mode="json")
    return Response(json.dumps(told, ensure_ascii=False), status, headers, "application/json")
