"""Commands that are packed and wait for their replies, and the pauses between attempts to send them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import MutableSequence
from dataclasses import dataclass
from typing import Any

from hiredis import pack_command

from agentic_flywheel import texts
from agentic_flywheel.broker.refusals import UNKNOWN, Refusal
from agentic_flywheel.errors import BrokerRefused, InvalidQuery

#: Shortest and longest pause before a call is repeated, in seconds.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0


@dataclass(slots=True, eq=False)
class PackedCall:
    """One packed command that waits for its reply. It is repeated until a time of the monotonic clock; 0: never."""

    packed: bytes
    reply: asyncio.Future[Any]
    give_up: float
    is_script: bool
    #: What the server refused it with at an earlier attempt: it says more than that the last one had no answer.
    refused: BrokerRefused | None = None

    def may_be_repeated(self, refusal: Refusal | None) -> bool:
        """Whether a refusal may pass. A key that a plain command finds of another type stays as it is."""
        return refusal is not UNKNOWN and (self.is_script or refusal is None or refusal.code != "WRONGTYPE")

    def may_wait(self, seconds: float) -> bool:
        return not self.reply.done() and time.monotonic() + seconds < self.give_up

    def fail(self, error: BaseException) -> None:
        if not self.reply.done():
            self.reply.set_exception(error)
            self.reply.exception()  # marks it as fetched: the caller may have been cancelled meanwhile


def packed(command: tuple[Any, ...]) -> bytes:
    """Return a command as it is sent. Raises InvalidQuery: what cannot be written is this caller's fault alone."""
    try:
        written: bytes = pack_command(command)
        return written
    except UnicodeEncodeError as refused:
        fault = texts.fault_in(refused.object) or "it cannot be written as UTF-8"
        raise InvalidQuery("text", fault) from None


def fail_all(error: Exception, *calls: MutableSequence[PackedCall]) -> None:
    """Fail all calls in these lists, and empty them."""
    for each in calls:
        for call in each:
            call.fail(error)
        each.clear()


class Pauses:
    """Growing pauses between attempts, in seconds. They are random, so that many processes do not try at once."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._longest = FIRST_PAUSE
        #: The pause that is due; 0 before the first failure.
        self.length = 0.0

    def next(self) -> float:
        self.length = self._longest * random.uniform(0.5, 1.0)
        self._longest = min(self._longest * 2, LONGEST_PAUSE)
        return self.length
