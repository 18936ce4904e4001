"""Name a failure by its code. Servers differ in where they put it: many proxies leave only the words of the message."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from agentic_flywheel.backends.connection import Failed
from agentic_flywheel.backends.decoding import decode_json
from agentic_flywheel.backends.pauses import pause_of_refusal
from agentic_flywheel.backends.reasons import MAX_REASON, clean
from agentic_flywheel.backends.statuses import failure_of_status, is_busy, reason_in
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import (
    ContentFiltered,
    FlowError,
    FlowNotFound,
    FlowProtocolError,
    FlowRateLimited,
    FlowRefused,
    FlowUnauthorized,
    PromptTooLong,
    ProviderUnavailable,
    QuotaUsedUp,
)
from agentic_flywheel.errors.flow import ANY_FLOW

#: What LiteLLM puts in front of its provider's message, and behind it.
_PROXY = re.compile(r"^litellm\.\w+: (?:[\w.]+: )*(?:\w+Exception - )?")
_APPENDIX = re.compile(r"\s*(?:LiteLLM: model group|Deployment Info:|model=\S* context_window_fallbacks).*", re.DOTALL)

# Each with the codes and types that say so, and the words where a proxy has left these out.
_QUOTA = re.compile(
    r"insufficient_quota|billing_(?:hard_limit_reached|not_active)|exceeded your current quota"
    r"|insufficient (?:balance|credits|funds|quota)|budget has been exceeded",
    re.IGNORECASE,
)
_CONTEXT = re.compile(
    r"context_length_exceeded|ContextWindowExceeded|exceed_context_size|maximum context length|context window"
    r"|(?:prompt|input) is too long",
    re.IGNORECASE,
)
#: A request that is larger than a whole minute's limit: no pause makes room for it.
_TOO_LARGE = re.compile(r"\brequest too large\b", re.IGNORECASE)
_FILTERED = re.compile(
    r"content_filter|content_policy|ResponsibleAIPolicyViolation|content management policy|ContentPolicyViolation"
    r"|requires moderation",
    re.IGNORECASE,
)
_KEY_REFUSED = re.compile(
    r"invalid_api_key|no_db_connection|Incorrect API key|API key not valid|invalid[ _]api[ _]key|AuthenticationError",
    re.IGNORECASE,
)
_NO_MODEL = re.compile(
    r"model_not_found|no healthy deployments for this model|DeploymentNotFound"
    r"|\bmodel\b.{0,200}\b(?:not found|does not exist|is not accessible)",
    re.IGNORECASE | re.DOTALL,
)
_RATE_LIMITED = re.compile(r"rate_limit_error|throttling_error|RateLimitError", re.IGNORECASE)


class Told(NamedTuple):
    """What an error says of itself."""

    message: str
    #: Its code and its type, as text.
    code: str = ""
    type: str = ""

    @property
    def status(self) -> int | None:
        """The HTTP status that some servers give as its code."""
        return int(self.code) if re.fullmatch(r"[45]\d\d", self.code) else None


def told_of(found: Any) -> Told | None:
    """Return the error in a JSON value, whatever its form; None where there is none."""
    if isinstance(found, list):
        found = found[0] if found else None  # Gemini's
    if not isinstance(found, dict):
        return None
    error = found.get("error")
    if not error and found.get("object") == "error":
        error = found  # older ones of vLLM
    if not error and isinstance(found.get("choices"), list):
        return None
    if error and isinstance(error, dict):
        return Told(_text(error.get("message")) or _text(error), _text(error.get("code")), _text(error.get("type")))
    said = error or found.get("detail") or found.get("message")
    return Told(_text(said)) if said else None


def failure_of(flow: Flow | None, failed: Failed, secrets: Collection[str] = ()) -> FlowError:
    """Return the error that a response other than an answer stands for."""
    key, status = flow.key if flow else ANY_FLOW, failed.status
    told = _told_in(failed.body)
    if told is not None and status >= 400:
        return failure_of_told(flow, told, status=status, headers=failed.headers, secrets=secrets)
    if not 300 <= status < 600 or status in (404, 405):
        kind = failed.content_type or "nothing"
        return FlowProtocolError(key, f"status {status} with {kind} that is no answer of an OpenAI-compatible server")
    reason = clean(reason_in(failed.body), secrets=secrets)
    if status in (500, 501):  # a gateway says by its status that the server is away; these say that it failed
        return ProviderUnavailable(key, reason or f"status {status}")
    return failure_of_status(flow, failed, reason)


def failure_of_told(
    flow: Flow | None,
    told: Told,
    *,
    status: int | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
    secrets: Collection[str] = (),
) -> FlowError:
    """Return the error that a server tells. ``status``: of its response; None where it comes amid an answer."""
    key = flow.key if flow else ANY_FLOW
    bare = _APPENDIX.sub("", _PROXY.sub("", told.message[: 10 * MAX_REASON]))
    reason = clean(bare, secrets=secrets) or "no reason given"
    status = status or told.status or 500
    if status == 413 or (status == 429 and _TOO_LARGE.search(reason)):
        return PromptTooLong(key, reason)
    # A message may quote the question: what code and type say goes first.
    codes, message = f"{told.code} {told.type}", told.message[: 10 * MAX_REASON]
    for words in (codes, message):
        if _QUOTA.search(words) or status == 402:
            return QuotaUsedUp(key, reason)
        if "rate_limit_exceeded" in words:
            return FlowRateLimited(key, pause_of_refusal(headers))
        if _CONTEXT.search(words):
            return PromptTooLong(key, reason)
        if _FILTERED.search(words):
            return ContentFiltered(key, reason)
        if (status in (401, 403) and words is message) or _KEY_REFUSED.search(words):
            return FlowUnauthorized(key, reason)
        if status < 500 and status != 403 and _NO_MODEL.search(words):
            return FlowNotFound(key, (flow.model if flow else None) or "")
    # LiteLLM calls a quota that is used up so too.
    if is_busy(status, headers) or _RATE_LIMITED.search(told.type):
        return FlowRateLimited(key, pause_of_refusal(headers))
    if status == 408 or status >= 500:
        return ProviderUnavailable(key, reason)
    if status in (404, 405):
        return FlowProtocolError(key, f"status {status}: {reason}; an address mostly ends in /v1")
    return FlowRefused(key, reason)


def _told_in(body: bytes) -> Told | None:
    try:
        return told_of(decode_json(body))
    except ValueError:
        return None


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)
