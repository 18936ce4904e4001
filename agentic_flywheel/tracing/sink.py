"""Sinks: where observations are sent to, and how a sink answers a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from agentic_flywheel.tracing.observation import Observation

#: Returns the text of a value, cut and masked as it may be stored.
Text = Callable[[Any], str]

#: Shortest and longest wait between two attempts, in seconds; each wait is twice the one before.
FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0
#: Most attempts to send one batch.
ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class SendResult:
    """How a sink answered a batch."""

    kind: Literal["delivered", "again", "too_large", "refused"]
    #: Why it was not delivered, or not whole; for the log.
    reason: str = ""
    #: Number of observations of a delivered batch that the receiver rejected.
    rejected: int = 0
    #: Seconds before this batch or the next is sent; None: the receiver did not say.
    wait: float | None = None


DELIVERED = SendResult("delivered")


class Sink(Protocol):
    """A place to which observations are sent. Called from the exporter's thread only."""

    #: Bounds of one batch: number of observations, and bytes of what ``encode`` returns.
    batch_count: int
    batch_bytes: int

    def encode(self, seen: Observation, text: Text) -> bytes:
        """Return the encoded form of one observation."""

    def send(self, batch: Sequence[bytes]) -> SendResult:
        """Send a batch. Ends within a bounded time and raises nothing."""

    def close(self) -> None:
        """Close connections and files."""


def next_wait(attempt: int, told: float | None) -> float | None:
    """Return the seconds to wait after a failed attempt, numbered from 1; None where no other attempt is made.

    ``told``: the seconds that the receiver asked for, if any. One that asks for too few is not obeyed.
    """
    if attempt >= ATTEMPTS:
        return None
    return min(LONGEST_WAIT, max(told or 0.0, FIRST_WAIT * 2.0 ** (attempt - 1)))
