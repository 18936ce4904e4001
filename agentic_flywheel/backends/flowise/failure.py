"""Name a failure. Flowise's status alone says little: most things are a 500, and streams fail with a 200."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from agentic_flywheel.backends.connection import Failed
from agentic_flywheel.backends.decoding import decode_json
from agentic_flywheel.backends.pauses import seconds_to_wait
from agentic_flywheel.backends.reasons import MAX_REASON, clean
from agentic_flywheel.backends.statuses import no_answer
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
    ServerUnreachable,
)
from agentic_flywheel.errors.flow import ANY_FLOW

_TROUBLESHOOTING = re.compile(r"\s*Troubleshooting URL:.*", re.DOTALL)
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
        return ProviderUnavailable(flow, reason, repeated=True)
    return FlowFailed(flow, reason)


def failure_of(flow: Flow | None, failed: Failed, secrets: Collection[str] = ()) -> FlowError:
    """Return the error that a response other than an answer stands for."""
    key, flow_id = (flow.key, flow.id) if flow else (ANY_FLOW, "")
    status, content_type, body = failed.status, failed.content_type, failed.body
    if status == 429:
        return FlowRateLimited(key, seconds_to_wait(failed.headers.get("Retry-After")))
    if 300 <= status < 400:
        return no_answer(key, failed)
    message = _message(body) if content_type == "application/json" else None
    if status in (401, 403):
        told = message or body[:600].decode(errors="replace") if content_type != "text/html" or len(body) < 200 else ""
        return FlowUnauthorized(key, clean(told, secrets=secrets) or f"status {status}")
    if status in (502, 503, 504):
        # Flowise itself never sends these: something in front of it does.
        return ServerUnreachable(key, f"a gateway answered with status {status}")
    if message is None:
        return FlowProtocolError(key, f"status {status} with {content_type or 'nothing'} that is no error of Flowise's")
    if status >= 500:
        return failure_of_message(key, flow_id, message, secrets=secrets)
    if _NOT_FOUND.match(message):
        return FlowNotFound(key, flow_id)
    if 400 <= status < 500 and status not in (404, 405):
        reason = clean(_SERVICE.sub("", message), secrets=secrets)
        return FlowRefused(key, reason or f"status {status}")
    return FlowProtocolError(key, f"unexpected status {status}")


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
