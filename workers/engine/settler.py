"""Write the ledger to the broker, with pauses while the broker refuses writes."""

from __future__ import annotations

import logging
import random
from time import monotonic
from typing import TypeVar, assert_never

from redis.exceptions import ResponseError

from agentic_flywheel.broker import transport_scripts, wire
from agentic_flywheel.broker.calls import ScriptCall
from workers.engine.ledger import Ledger
from workers.engine.link import BrokerLink

R = TypeVar("R")

logger = logging.getLogger(__name__)

#: Seconds until a refused write (out of memory, disk full ...) is tried again: the first pause, the longest.
PAUSE = (0.2, 2.0)
#: Seconds for which the broker remembers the id of a worker's last batch.
REMEMBERED = 300


class Settler:
    """Writes one ledger over one link."""

    def __init__(self, link: BrokerLink, ledger: Ledger) -> None:
        self._link, self._ledger = link, ledger
        self._refused_until, self._pause = 0.0, PAUSE[0]

    @property
    def is_pausing(self) -> bool:
        """Whether the broker has just refused a write, so that nothing is to be sent yet."""
        return self._refused_until > 0 and monotonic() < self._refused_until

    def settle(self) -> None:
        """Write all entries. A batch that is refused is kept and tried again after a pause.

        Raises redis-py's ConnectionError or TimeoutError when the broker does not answer; the entries are kept.
        """
        while self._ledger.has_entries and not self.is_pausing:
            with self._link as run:
                settled = self._link.run(self._settlement(run))
            self._note(settled)

    def settle_and_run(self, call: ScriptCall[R]) -> R | None:
        """Write one batch and run another script in the same round trip. Return its reply; None if it was refused.

        Raises redis-py's ConnectionError or TimeoutError when the broker does not answer.
        """
        if self._ledger.has_entries:
            with self._link as run:
                settled, reply = self._link.run_both(self._settlement(run), call)
            self._note(settled)
        else:
            reply = self._link.run(call)
        if isinstance(reply, ResponseError):
            self._begin_pause(reply)
            return None
        return reply

    def _settlement(self, run: int) -> ScriptCall[transport_scripts.SettleReply]:
        batch = self._ledger.batch()
        return transport_scripts.settle(
            run=run,
            ledger=self._ledger.name,
            batch_id=batch.id,
            remembered=REMEMBERED,
            kept=wire.UNREADABLE_KEPT,
            entries=batch.entries,
        )

    def _note(self, reply: transport_scripts.SettleReply | ResponseError) -> None:
        match reply:
            case ResponseError():
                self._begin_pause(reply)
                return
            case transport_scripts.SettleKnown():
                pass
            case transport_scripts.SettleSettled():
                if reply.not_sent:
                    logger.critical(
                        "%d messages could not be sent, since the keys of their queues are no lists; they are in %s",
                        reply.not_sent,
                        wire.UNREADABLE,
                    )
            case _:
                assert_never(reply)
        self._ledger.confirm()
        self._pause = PAUSE[0]

    def _begin_pause(self, refusal: ResponseError) -> None:
        logger.error("the broker refuses a write, which is kept and tried again: %s", refusal)
        self._refused_until = monotonic() + self._pause * random.uniform(0.5, 1)
        self._pause = min(2 * self._pause, PAUSE[1])
