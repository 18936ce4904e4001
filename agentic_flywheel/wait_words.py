"""What people are told of a query that waits."""

from __future__ import annotations

from agentic_flywheel.models import WaitReason

#: By the reason: what such a query does.
WAIT_WORDS: dict[str, str] = {
    WaitReason.RETRY: "waits before another attempt",
    WaitReason.RATE: "waits: the flow's rate limit is reached",
    WaitReason.CONCURRENCY: "waits: the flow, or its server, has all the calls it may have",
    WaitReason.CIRCUIT: "waits: the flow failed too often and is left alone for a while",
    WaitReason.PAUSED: "waits: the flow or its domain is paused",
    WaitReason.ATTACHED: "shares the call of an identical question",
    WaitReason.SESSION: "waits for the turn before it in its session",
    WaitReason.REGISTRY: "waits for a worker that has its flow and its profile",
    WaitReason.VERSION: "waits for a worker of its version",
}


def wait_words(reason: str) -> str:
    """Return what a query does that waits for this reason, which a newer worker may have given."""
    return WAIT_WORDS.get(reason, "waits")
