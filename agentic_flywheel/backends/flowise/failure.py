"""Name a failure. Flowise's status alone says little: most things are a 500, and streams fail with a 200."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from agentic_flywheel.backends.flowise.decoding import decode_json
from agentic_flywheel.errors import (
    RETRY_RATE_LIMIT,
    FlowError,
    FlowFailed,
    FlowNotFound,
    FlowProtocolError,
    FlowRateLimited,
    FlowRefused,
    FlowUnauthorized,
    ProviderUnavailable,
    ServerUnreachable,
)

MAX_REASON = 300
#: A server that asks for a longer pause is not believed.
MAX_RETRY_AFTER = 3600.0

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]+")
_TROUBLESHOOTING = re.compile(r"\s*Troubleshooting URL:.*", re.DOTALL)
_KEYS = re.compile(
    r"""(?ix)
    \b(?:(?:sk|pk|rk|gsk|xai|hf|ghp)[-_]|AIza)[A-Za-z0-9_\-*]+                # a provider's key, whole or starred
    | (?<=bearer\s)\S+
    | (?<=api[-_\s]key[:=])\s*\S+
    | (?<=provided:)\s*\S+
    | (?<=://)[^/\s@]+(?=@)                                                     # credentials in an address
    """
)

#: Flowise puts the function that failed before the message.
_SERVICE = re.compile(r"^Error: [A-Za-z]+\.[A-Za-z]+ - ")
_NODE = re.compile(r"^(?:Error: )?Error in [\w -]{1,40} node: ")
#: An exception of a custom function: its words are the flow's own, whatever they resemble.
_OWN_CODE = re.compile(r"^(?:Error: )?NodeVM Execution Error")
_NOT_FOUND = re.compile(r"^(?:Chatflow \S+ not found\b|Invalid Chatflow ID)")
_REFUSED = re.compile(
    r"^(?:Invalid chatId|Invalid history format|Cannot resume execution|No previous execution found"
    r"|Invalid (?:JSON|body|request|filename)|Unexpected (?:token|end of JSON)|Question and form cannot"
    r"|MIME type\b|File type\b|File upload is not enabled)",
    re.IGNORECASE,
)
_KEY_REFUSED = re.compile(
    r"^(?:Unauthorized\b|40[13]\b)|\bIncorrect API key\b|\binvalid[ _]api[ _]key\b", re.IGNORECASE
)
_PROVIDER_DOWN = re.compile(
    r"^(?:429|408|5\d\d)\b|^terminated$|^fetch failed|^Connection error|^Request timed out|\bsocket hang up\b"
    r"|\bE(?:CONNREFUSED|CONNRESET|TIMEDOUT|PIPE|AI_AGAIN|HOSTUNREACH)\b|\bENOTFOUND\b"
    r"|\bstatus code (?:429|5\d\d)\b|\boverloaded\b|\brate limit reached\b",
    re.IGNORECASE,
)


def clean(text: str, *, secrets: Iterable[str] = ()) -> str:
    """Return text fit for an error: one short line without control characters, keys or credentials.

    ``secrets``: what was sent and is not to be quoted.
    """
    for secret in secrets:
        text = text.replace(secret, "***")
    # Cut first, generously: a page of megabytes need not be searched for keys.
    text = without_keys(text[: 10 * MAX_REASON])
    text = " ".join(_CONTROL.sub(" ", text).split())
    return text if len(text) <= MAX_REASON else text[: MAX_REASON - 1] + "…"


def without_keys(text: str) -> str:
    """Return a text without the keys and credentials that have a known form."""
    return _KEYS.sub("***", text)


def failure_of_message(flow: str, flow_id: str, message: str, *, secrets: Iterable[str] = ()) -> FlowError:
    """Return the error that a message names: from a 500's JSON or a stream's ``error`` event."""
    bare = _TROUBLESHOOTING.sub("", _SERVICE.sub("", message[: 10 * MAX_REASON])).strip()
    reason = clean(bare, secrets=secrets) or "no reason given"
    if _OWN_CODE.match(bare):
        return FlowFailed(flow, reason)
    if _NOT_FOUND.match(bare):
        return FlowNotFound(flow, flow_id)
    if _REFUSED.match(bare):
        return FlowRefused(flow, reason)
    cause = _NODE.sub("", bare)
    if _KEY_REFUSED.search(cause):
        return FlowUnauthorized(flow, reason)
    if _PROVIDER_DOWN.search(cause):
        return ProviderUnavailable(flow, reason)
    return FlowFailed(flow, reason)


def failure_of_response(
    flow: str,
    flow_id: str,
    *,
    status: int,
    content_type: str,
    body: bytes,
    retry_after: str | None = None,
    secrets: Iterable[str] = (),
) -> FlowError:
    """Return the error that a response other than an answer stands for."""
    if status == 429:
        return FlowRateLimited(flow, seconds_to_wait(retry_after))
    message = _message(body) if content_type == "application/json" else None
    if status in (401, 403):
        told = message or body[:600].decode(errors="replace") if content_type != "text/html" or len(body) < 200 else ""
        return FlowUnauthorized(flow, clean(told, secrets=secrets) or f"status {status}")
    if status in (502, 503, 504):
        # Flowise itself never sends these: something in front of it does.
        return ServerUnreachable(flow, f"a gateway answered with status {status}")
    if message is None:
        return FlowProtocolError(
            flow, f"status {status} with {content_type or 'nothing'} that is no error of Flowise's"
        )
    if status >= 500:
        return failure_of_message(flow, flow_id, message, secrets=secrets)
    if _NOT_FOUND.match(message):
        return FlowNotFound(flow, flow_id)
    if 400 <= status < 500 and status not in (404, 405):
        reason = clean(_SERVICE.sub("", message), secrets=secrets)
        return FlowRefused(flow, reason or f"status {status}")
    return FlowProtocolError(flow, f"unexpected status {status}")


def seconds_to_wait(retry_after: str | None) -> float:
    """Return the seconds of a ``Retry-After`` header, which may be a number or a date; the usual hint without one."""
    if retry_after is None:
        return RETRY_RATE_LIMIT
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            until = parsedate_to_datetime(retry_after)
        except ValueError:
            return RETRY_RATE_LIMIT
        if until.tzinfo is None:
            until = until.replace(tzinfo=UTC)
        seconds = (until - datetime.now(UTC)).total_seconds()
    if seconds != seconds:
        return RETRY_RATE_LIMIT
    # Nought would mean: never.
    return min(max(seconds, 1.0), MAX_RETRY_AFTER)


def _message(body: bytes) -> str | None:
    """The message of an error's JSON, or None where the body is no such JSON."""
    try:
        found = decode_json(body)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    for key in ("message", "error"):
        if isinstance(found.get(key), str):
            return str(found[key])
    return None
