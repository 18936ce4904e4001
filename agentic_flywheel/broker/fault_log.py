"""Log what failed of many things that one script does alone (``alone`` in ``lua/shared/basics.lua``)."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

logger = logging.getLogger(__name__)

#: Seconds for which a fault that comes again is not logged again.
_SAID_EVERY = 60.0


class FaultLog:
    """Logs each fault once a minute: a key that another program has written fails several times a second."""

    def __init__(self) -> None:
        #: The faults that were logged, and when, by the monotonic clock.
        self._said: dict[str, float] = {}

    def note(self, faults: Iterable[str]) -> None:
        """Log these faults, in the words of a script."""
        now = time.monotonic()
        self._said = {fault: at for fault, at in self._said.items() if now < at + _SAID_EVERY}
        for fault in set(faults) - self._said.keys():
            self._said[fault] = now
            logger.error("a step beside the queries fails, the others go on: %s; `flywheel audit` says more", fault)
