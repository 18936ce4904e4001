"""Name the failure that a response stands for: by its status, unless the registry says otherwise, and its reason."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from agentic_flywheel.backends.connection import Failed
from agentic_flywheel.backends.decoding import decode_json
from agentic_flywheel.backends.http.pointers import NOTHING, at
from agentic_flywheel.backends.pauses import seconds_to_wait
from agentic_flywheel.backends.reasons import clean
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
from agentic_flywheel.http_flows import AnswerPlace, Meaning, Pointer

#: Where services write a reason, the most usual first.
_MEMBERS = ("message", "error", "detail", "reason", "description", "text")
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


def failure_of(
    asked: Flow | None, failed: Failed, secrets: Collection[str], *, place: AnswerPlace | None = None
) -> FlowError:
    """Return the error that a response other than an answer stands for. It quotes none of the secrets."""
    flow, status, pause = asked.key if asked else ANY_FLOW, failed.status, failed.headers.get("Retry-After")
    reason = clean(_reason_in(failed.body, place.error if place else None), secrets=secrets)
    meaning = place.statuses.get(status) if place else None
    if meaning is not None:
        return _as_meant(flow, meaning, reason or f"status {status}", pause)
    if status == 429 or (status == 503 and pause is not None):
        return FlowRateLimited(flow, seconds_to_wait(pause))
    if status < 400:
        led = "leads to another address; none is followed, name that one in the registry"
        return FlowProtocolError(flow, f"status {status} {led if status >= 300 else 'is no answer'}")
    if status in (401, 403):
        return FlowUnauthorized(flow, reason or f"status {status}")
    if status in (404, 410):
        return FlowNotFound(flow, asked.id if asked else "")
    if status in (408, 502, 503, 504) or 520 <= status <= 527:
        return ServerUnreachable(flow, f"it answered with status {status}" + (f": {reason}" if reason else ""))
    if status < 500:
        return FlowRefused(flow, reason or f"status {status}")
    return failure_of_reason(flow, reason or f"status {status}")


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


def _as_meant(flow: str, meaning: Meaning, reason: str, pause: str | None) -> FlowError:
    if meaning == "wait" or (meaning == "retry" and pause is not None):
        return FlowRateLimited(flow, seconds_to_wait(pause))
    if meaning == "retry":
        return ProviderUnavailable(flow, reason)
    return FlowRefused(flow, reason) if meaning == "refused" else FlowFailed(flow, reason)


def _reason_in(body: bytes, pointer: Pointer | None) -> str:
    try:
        document = decode_json(body)
    except ValueError:
        text = body[:600].decode(errors="replace")
        # Of a page, only its author can make something.
        return "" if text.lstrip().startswith("<") else text
    named = NOTHING if pointer is None else at(document, pointer)
    return reason_from(document if named is NOTHING else named)
