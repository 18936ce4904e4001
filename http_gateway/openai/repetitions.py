"""A client's own repetition of a request is the same query; the same question asked twice on purpose is not.

OpenAI's clients send a request again by themselves when it was refused for the moment, cut off, or too slow for them.
They count: ``x-stainless-retry-count`` is 0 in the first request and 1, 2, … in its repetitions. Each first request is
given a number of its own here, which is kept under a digest of owner, user and body; a repetition finds the number and
asks under the same idempotency key. Whoever asks the same once more begins with a first request, and so a new query.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import NamedTuple

from agentic_flywheel.asker import Asker
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.sendings import number_of_sending

#: The header in which OpenAI's clients count.
COUNT = b"x-stainless-retry-count"
#: How long after it was sent a request may be repeated: the clients wait ten minutes for an answer.
_KEPT = timedelta(minutes=15)


def digest_of(asker: Asker, *parts: bytes) -> str:
    """Return what is equal for a request and its repetitions: whose it is, and what was sent."""
    digest = hashlib.sha256()
    for part in (asker.name.encode(), *parts):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


class Sending(NamedTuple):
    """Under which idempotency key a request asks; ``counted``: the key is made here, and not the client's own."""

    key: str | None = None
    counted: bool = False


async def sending_of(batch: Batch, count: str | None, digest: str) -> Sending:
    """Return the key of a request; none where its client does not count. Raises BrokerUnavailable."""
    if count is None or not count.isascii() or not count.isdigit():
        return Sending()
    number = await number_of_sending(batch, digest, again=int(count[:9]) > 0, ttl=_KEPT)
    return Sending(f"openai:{digest}:{number}", counted=True)
