"""Name the failure that a response stands for by its status and the words in it, where its server has no own codes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from agentic_flywheel.backends.connection import Failed
from agentic_flywheel.backends.decoding import decode_json
from agentic_flywheel.backends.pauses import pause_of_refusal
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import (
    FlowError,
    FlowFailed,
    FlowNotFound,
    FlowProtocolError,
    FlowRateLimited,
    FlowRefused,
    FlowUnauthorized,
    ProviderUnavailable,
    QuotaUsedUp,
    ServerUnreachable,
)
from agentic_flywheel.errors.flow import ANY_FLOW

#: Where services write a reason, the most usual first.
_MEMBERS = ("message", "error", "detail", "reason", "description", "text")
_REDIRECTS = (301, 302, 303, 307, 308)
#: How a flow's server passes on that its model's server does not take the key, or has no quota left, or is away.
_KEY_REFUSED = re.compile(
    r"\b(?:error|status) code\W{0,3}40[13]\b|\bincorrect api key\b|\binvalid[ _]api[ _]key\b", re.IGNORECASE
)
_USED_UP = re.compile(r"\binsufficient_quota\b|\bexceeded your current quota\b", re.IGNORECASE)
_AWAY = re.compile(
    r"\b(?:error|status) code\W{0,3}(?:408|429|5\d\d)\b|\brate limit reached\b|\btoo many requests\b|\boverloaded\b"
    r"|\bconnection error\b|\bpeer closed connection\b|\bsocket hang up\b"
    r"|\bE(?:CONNREFUSED|CONNRESET|TIMEDOUT|PIPE|AI_AGAIN|HOSTUNREACH)\b",
    re.IGNORECASE,
)


def failure_of_status(asked: Flow | None, failed: Failed, reason: str) -> FlowError:
    """Return the error that a response other than an answer stands for. ``reason``: cleaned; may be empty."""
    flow, status = asked.key if asked else ANY_FLOW, failed.status
    if is_busy(status, failed.headers):
        return FlowRateLimited(flow, pause_of_refusal(failed.headers))
    if status < 400:
        return no_answer(flow, failed)
    if status in (404, 410):
        return FlowNotFound(flow, asked.id if asked else "")
    if status in (408, 502, 503, 504) or 520 <= status <= 527:
        return ServerUnreachable(flow, f"it answered with status {status}" + (f": {reason}" if reason else ""))
    reason = reason or f"status {status}"
    if status in (401, 403):
        return FlowUnauthorized(flow, reason)
    return FlowRefused(flow, reason) if status < 500 else failure_of_reason(flow, reason)


def is_busy(status: int | None, headers: Mapping[str, str]) -> bool:
    """Return whether a server that is there says that it may be asked again after a pause."""
    return status == 429 or (status == 503 and "retry-after" in headers)


def no_answer(flow: str, failed: Failed) -> FlowProtocolError:
    """Return the error that a status below 400 stands for which is no answer, such as a redirect."""
    if failed.status in _REDIRECTS and "location" in failed.headers:
        reason = "leads to another address; none is followed, name that one in the registry"
    else:
        reason = "is no answer"
    return FlowProtocolError(flow, f"status {failed.status} {reason}")


def failure_of_reason(flow: str, reason: str) -> FlowError:
    """Return the error that a flow's own words stand for."""
    if _USED_UP.search(reason):
        return QuotaUsedUp(flow, reason)
    if _KEY_REFUSED.search(reason):
        return FlowUnauthorized(flow, reason)
    return ProviderUnavailable(flow, reason) if _AWAY.search(reason) else FlowFailed(flow, reason)


def reason_from(found: Any) -> str:
    """Return the reason in what a service says of a failure; empty where it says nothing."""
    for _ in range(5):
        if isinstance(found, str) and found[:1] == "{":
            try:
                found = decode_json(found)
            except ValueError:
                break
        if isinstance(found, list):
            found = found[0] if found else ""
        if not isinstance(found, dict):
            break
        found = next((found[each] for each in _MEMBERS if found.get(each)), "")
    return found if isinstance(found, str) else "" if found is None else str(found)


def reason_in(body: bytes) -> str:
    """Return the reason in the body of a response, JSON or text; empty where there is none."""
    try:
        return reason_from(decode_json(body))
    except ValueError:
        text = body[:600].decode(errors="replace")
        # Of a page, only its author can make something.
        return "" if text.lstrip().startswith("<") else text
