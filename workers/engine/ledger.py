"""What this worker still has to write to the broker: messages, results, acknowledgements, returned messages.

Entries are written in batches and in the order in which they were added, so an acknowledgement is never written before
the result and the messages of its task. A batch is kept until the broker has confirmed it. The broker carries it out
once, however often it is sent.
"""

from __future__ import annotations

import itertools
import threading
import uuid
from collections import deque
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

from agentic_flywheel.broker import transport_scripts
from agentic_flywheel.broker.transport_scripts import SettleEntry

#: Most entries in one batch. It bounds the time for which one worker keeps the broker busy.
BATCH = 500


class LedgerBatch(NamedTuple):
    """Entries that are written together, under an id by which the broker recognises them among this ledger's."""

    id: str
    entries: tuple[SettleEntry, ...]


class Moved(NamedTuple):
    """The execution of a query that a message has moved."""

    #: Number of the server's run in which the message was taken.
    run: int
    execution: str
    #: Whether a record was there before the message; else the message may be all that is known of the execution.
    recorded: bool


class Ledger:
    """A queue of entries for the script ``settle``. Any thread may add entries; the hub's thread writes them."""

    def __init__(self) -> None:
        self._entries: deque[SettleEntry] = deque()
        self._batch: LedgerBatch | None = None
        self._numbers = itertools.count(1)
        #: Whether somebody may wait for one of the entries: all but acknowledgements are urgent.
        self.is_urgent = False
        self._wake: Callable[[], None] | None = None
        self._settle: Callable[[], None] | None = None
        self._owner = 0

    @cached_property
    def name(self) -> str:
        """A name that no other worker's ledger has. It is made at first use, so forked processes have other ones."""
        return uuid.uuid4().hex

    @property
    def is_open(self) -> bool:
        """Whether entries will be written. Publishers and the result backend add entries only then."""
        return self._wake is not None

    def open(self, *, wake: Callable[[], None], settle: Callable[[], None]) -> None:
        """Accept entries from now on.

        ``settle`` writes all entries. ``wake`` is called by other threads and has the hub's thread call ``settle``.
        """
        self._wake, self._settle, self._owner = wake, settle, threading.get_ident()

    def close(self) -> None:
        """Accept no more entries."""
        self._wake = self._settle = None

    def settle(self) -> None:
        """Write all entries now, if the ledger is open. Raises redis-py's errors when the broker does not answer."""
        if self._settle is not None:
            self._settle()

    def message(self, queue: str, payload: str) -> None:
        """Add a message for a queue."""
        self._add(transport_scripts.settle_message(queue=queue, message=payload))

    def result(self, key: str, ttl: int, value: str) -> None:
        """Add a result to store for ``ttl`` seconds (0: for ever) and to publish to those who wait for it."""
        self._add(transport_scripts.settle_result(key=key, ttl=ttl, value=value))

    def acknowledge(self, tag: str, moved: Moved | None = None) -> None:
        """Add the acknowledgement of a message that is done.

        Where it has moved an execution, and the server has started again since it was taken, the acknowledgement counts
        only if the execution does not wait for this message any more.
        """
        if moved is None:
            entry = transport_scripts.settle_ack(tag=tag)
        else:
            entry = transport_scripts.settle_moved(
                tag=tag, taken_in=moved.run, execution_name=moved.execution, recorded=int(moved.recorded)
            )
        self._add(entry, urgent=False)

    def give_back(self, tag: str, queue: str, payload: str, *, seen: str = "") -> None:
        """Add the return of a message to its queue.

        With ``seen`` it is returned only if its lease still has this time stamp, so nobody has renewed it meanwhile.
        """
        self._add(transport_scripts.settle_put_back(tag=tag, seen=seen, queue=queue, message=payload))

    def set_aside(self, tag: str, *, acknowledged: str = "") -> None:
        """Add the move of a message to the list of unreadable messages, exactly as it was sent.

        ``acknowledged``: the text of a message that this worker has acknowledged already, so that it has no record.
        """
        self._add(transport_scripts.settle_set_aside(tag=tag, acknowledged=acknowledged))

    @property
    def has_entries(self) -> bool:
        """Whether anything is still to be written."""
        return bool(self._batch or self._entries)

    def batch(self) -> LedgerBatch:
        """Return the oldest entries; the same until ``confirm``. Call it only where there are entries."""
        if self._batch is None:
            entries = self._entries
            oldest = tuple(entries.popleft() for _ in range(min(BATCH, len(entries))))
            self._batch = LedgerBatch(str(next(self._numbers)), oldest)
        return self._batch

    def confirm(self) -> None:
        """Forget the current batch: it is written."""
        self._batch = None
        self.is_urgent = self.is_urgent and bool(self._entries)

    def _add(self, entry: SettleEntry, *, urgent: bool = True) -> None:
        self._entries.append(entry)
        self.is_urgent |= urgent
        if self._wake is not None and threading.get_ident() != self._owner:
            self._wake()


#: The ledger of this process. One process is one worker.
ledger = Ledger()


def write_what_is_there() -> None:
    """Have what is in the ledger written in the hub's present turn: it has been gathered long enough."""
    ledger.is_urgent |= ledger.has_entries
