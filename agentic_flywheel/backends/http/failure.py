"""Name the failure that a response stands for, as the registry says, else as its status does."""

from __future__ import annotations

from collections.abc import Collection

from agentic_flywheel.backends.connection import Failed
from agentic_flywheel.backends.decoding import decode_json
from agentic_flywheel.backends.http.pointers import NOTHING, at
from agentic_flywheel.backends.pauses import pause_of_refusal
from agentic_flywheel.backends.reasons import clean
from agentic_flywheel.backends.statuses import failure_of_status, reason_from, reason_in
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowError, FlowFailed, FlowRateLimited, FlowRefused, ProviderUnavailable
from agentic_flywheel.errors.flow import ANY_FLOW
from agentic_flywheel.http_flows import AnswerPlace, Meaning, Pointer


def failure_of(
    asked: Flow | None, failed: Failed, secrets: Collection[str], *, place: AnswerPlace | None = None
) -> FlowError:
    """Return the error that a response other than an answer stands for. It quotes none of the secrets."""
    reason = clean(_reason_at(place.error if place else None, failed.body), secrets=secrets)
    meaning = place.statuses.get(failed.status) if place else None
    if meaning is not None:
        return _as_meant(asked.key if asked else ANY_FLOW, meaning, reason or f"status {failed.status}", failed)
    return failure_of_status(asked, failed, reason)


def _as_meant(flow: str, meaning: Meaning, reason: str, failed: Failed) -> FlowError:
    if meaning == "wait" or (meaning == "retry" and "Retry-After" in failed.headers):
        return FlowRateLimited(flow, pause_of_refusal(failed.headers))
    if meaning == "retry":
        return ProviderUnavailable(flow, reason)
    return FlowRefused(flow, reason) if meaning == "refused" else FlowFailed(flow, reason)


def _reason_at(pointer: Pointer | None, body: bytes) -> str:
    if pointer is not None:
        try:
            named = at(decode_json(body), pointer)
        except ValueError:
            named = NOTHING
        if named is not NOTHING:
            return reason_from(named)
    return reason_in(body)
