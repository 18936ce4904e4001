"""What a sink of observations is, and what can become of a batch that is given to one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from agentic_flywheel.tracing.observation import Observation

#: Makes a value of an observation the text that may be shown.
Text = Callable[[Any], str]

#: Waits between attempts double from here to there, in seconds.
FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0
#: How often one batch is offered before it is given up.
ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a batch."""

    kind: Literal["delivered", "again", "too_large", "refused"]
    #: What was wrong, for the log.
    reason: str = ""
    #: Of a delivered batch: how many observations the receiver left out.
    rejected: int = 0
    #: Seconds until the receiver should be asked again, for this batch or the next; None: as we see fit.
    wait: float | None = None


DELIVERED = Outcome("delivered")


class Sink(Protocol):
    """Where observations go. Called from the exporter's thread only."""

    #: How much one batch may hold: observations, and bytes of what ``encode`` returns.
    batch_count: int
    batch_bytes: int

    def encode(self, seen: Observation, text: Text) -> bytes:
        """Return one observation as it is kept until its batch is sent."""

    def send(self, batch: Sequence[bytes]) -> Outcome:
        """Hand over a batch; bounded in time, raises nothing."""

    def close(self) -> None:
        """Let go of connections and files."""


def next_wait(attempt: int, told: float | None) -> float | None:
    """Return how long to wait after the ``attempt``-th failed offer of a batch, counted from 1; None: give it up."""
    if attempt >= ATTEMPTS:
        return None
    return min(LONGEST_WAIT, told if told is not None else FIRST_WAIT * 2 ** (attempt - 1))
