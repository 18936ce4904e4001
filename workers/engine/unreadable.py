"""Move messages that cannot be read or delivered into a list of their own, so that no worker meets one twice.

The list is ``flywheel:unreadable`` (``wire.UNREADABLE``). It holds such messages exactly as they were sent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from workers.engine.envelope import Whose
from workers.engine.ledger import Ledger, ledger

logger = logging.getLogger(__name__)

#: Called with whose message was set aside, its delivery tag, and the reason.
OnUnreadable = Callable[[Whose, str, str], object]


class UnreadableMessages:
    """Has messages moved by the ledger, logs each one and tells the application."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        #: Registered by the application. It is called on the hub's thread, so it must not block.
        self.on_unreadable: OnUnreadable | None = None

    def set_aside(self, tag: str, queue: str, reason: str, whose: Whose | None, *, acknowledged: str = "") -> None:
        """Move the message that is recorded under ``tag``. ``reason`` must contain nothing of its text.

        ``acknowledged``: see ``Ledger.set_aside``.
        """
        logger.critical("a message in queue %s is set aside as unreadable: %s", queue, reason)
        self._ledger.set_aside(tag, acknowledged=acknowledged)
        if whose is None or self.on_unreadable is None:
            return
        try:
            self.on_unreadable(whose, tag, reason)
        except Exception:
            logger.exception(
                "the application could not be told that the message of task %s is unreadable", whose.task_id
            )


#: The unreadable messages that this process meets.
unreadable_messages = UnreadableMessages(ledger)


def reason_of(error: BaseException) -> str:
    """Name an error and the line that raised it. Its own text is left out: it may contain parts of a message."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" in {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace is not None else ""
    return f"{type(error).__name__}{place}"
