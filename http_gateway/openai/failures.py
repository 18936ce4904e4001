"""Errors in OpenAI's shape, so that its clients raise their own classes with our sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Scope

from agentic_flywheel.errors import ErrorInfo
from http_gateway.openai.shapes import DONE
from http_gateway.problems import headers_of, status_of
from http_gateway.streams import frame

#: OpenAI's own codes, by the name of our class; other errors have the name of their class.
_CODES = {
    "ContentFiltered": "content_filter",
    "ContextTooLong": "context_length_exceeded",
    "InvalidQuery": "invalid_value",
    "InvalidRequest": "invalid_value",
    "MissingScope": "insufficient_permissions",
    "OwnerLimitReached": "rate_limit_exceeded",
    "PromptTooLong": "context_length_exceeded",
    "TokenNeeded": "invalid_api_key",
    "TooManyCalls": "rate_limit_exceeded",
    "TooManyOpen": "rate_limit_exceeded",
    "UnknownDomain": "model_not_found",
    "UnknownFlow": "model_not_found",
    "UnknownModel": "model_not_found",
    "UnsupportedParameter": "unsupported_parameter",
}
#: The statuses that OpenAI gives, where the gateway's own is another one. A 409 would be repeated by its clients.
_STATUSES = {409: 400, 422: 400}
#: The parameter that is meant, by the field of the error's details that names it.
_PARAMETERS = ("field_name", "parameter")
_OF_MESSAGES = ("ContentFiltered", "ContextTooLong", "PromptTooLong", "SideCallRefused")
_OF_MODEL = ("UnknownModel", "UnknownFlow", "UnknownDomain")
#: Nothing was accepted with these: to send the request again is the way to have it accepted.
_SEND_AGAIN = (408, 429, 503)
#: Errors with a query that goes on: a repetition of the request waits for it.
_GOES_ON = ("GatewayStopping",)
#: Seconds up to which OpenAI's clients wait as `Retry-After` says; with a longer time they come too early.
_LONGEST_PAUSE = 60.0


def error_of(info: ErrorInfo, status: int) -> dict[str, Any]:
    """Return the object under ``error``: OpenAI's four fields, and what our errors say beside them."""
    told = {
        "message": info.error,
        "type": _type_of(status),
        "param": _parameter_of(info),
        "code": _code_of(info),
        "recovery_suggestions": list(info.recovery_suggestions),
        "retry_after": info.retry_after,
        "error_id": info.error_id,
    }
    return told if info.query_id is None else {**told, "query_id": info.query_id}


def openai_status_of(info: ErrorInfo, status: int) -> int:
    """Return the status that OpenAI's clients know for an error; ``status`` is the gateway's own."""
    return 404 if info.error_type in _OF_MODEL else _STATUSES.get(status, status)


def refusal(info: ErrorInfo, status: int, more: Mapping[str, str] | None = None) -> Response:
    """Return an error as OpenAI shows it; ``status`` is the gateway's own. ``more``: further headers."""
    shown = openai_status_of(info, status)
    headers = {**headers_of(info, shown), **(more or {})}
    if shown >= 500 or shown in _SEND_AGAIN:
        # A query that has failed was repeated by a worker already, and stays failed however often it is asked for.
        fresh = info.query_id is None or info.error_type in _GOES_ON
        again = shown in _SEND_AGAIN and fresh and 0 < info.retry_after <= _LONGEST_PAUSE
        headers["x-should-retry"] = "true" if again else "false"
    body = json.dumps({"error": error_of(info, shown)}, ensure_ascii=False)
    return Response(body, shown, headers, "application/json")


def cut(info: ErrorInfo, scope: Scope | None = None) -> bytes:
    """Return the last frames of a stream that an error has cut."""
    return frame({"error": error_of(info, openai_status_of(info, status_of(info)))}) + DONE


def _type_of(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"


def _code_of(info: ErrorInfo) -> str:
    if info.error_type == "OwnerLimitReached" and info.details.get("limit") == "calls_a_day":
        return "insufficient_quota"
    return _CODES.get(info.error_type) or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", info.error_type).lower()


def _parameter_of(info: ErrorInfo) -> str | None:
    if info.error_type in _OF_MESSAGES:
        return "messages"
    if info.error_type in _OF_MODEL:
        return "model"
    named = next((info.details[name] for name in _PARAMETERS if info.details.get(name)), None)
    return str(named) if named else None
