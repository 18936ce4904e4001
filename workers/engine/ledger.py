"""What this worker owes the broker: messages, results, acknowledgements and returns that are not written yet.

They leave in batches, in the order they came in: an acknowledgement can only follow the results and messages of its
task. A batch is kept until the broker confirmed it, and it is carried out once however often it is sent.
"""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import Callable
from functools import cached_property

#: Entries written at once. Bounds the time for which one worker occupies the broker.
BATCH = 500


class Ledger:
    """A queue of entries for the SETTLE script. Any thread may add; the hub settles."""

    def __init__(self) -> None:
        self._entries: deque[tuple[str, ...]] = deque()
        self._batch: list[str] = []
        #: Whether somebody may be waiting for an entry: for a message, a result or a return.
        self.is_urgent = False
        self._wake: Callable[[], None] | None = None
        self._settle: Callable[[], None] | None = None
        self._owner = 0

    @cached_property
    def name(self) -> str:
        """Tells this ledger from those of other workers, those forked from the same process among them."""
        return uuid.uuid4().hex

    @property
    def is_open(self) -> bool:
        """Whether somebody will settle what is added. Only then do publishers and the result backend add."""
        return self._wake is not None

    def open(self, *, wake: Callable[[], None], settle: Callable[[], None]) -> None:
        """Let entries be added. ``settle`` writes them; ``wake``, called from other threads, has that done soon."""
        self._wake, self._settle, self._owner = wake, settle, threading.get_ident()

    def close(self) -> None:
        self._wake = self._settle = None

    def settle(self) -> None:
        """Write what is owed now. Raises when the broker is away."""
        if self._settle is not None:
            self._settle()

    # Adding

    def message(self, queue: str, payload: str) -> None:
        """Send a message to a queue."""
        self._add("message", queue, payload)

    def result(self, key: str, ttl: int, value: str) -> None:
        """Store a result for ``ttl`` seconds (0: for ever) and tell those who wait for it."""
        self._add("result", key, str(ttl), value)

    def acknowledge(self, tag: str) -> None:
        """Forget a message: it is done."""
        self._entries.append(("ack", tag))
        self._wake_hub()

    def give_back(self, tag: str, queue: str, payload: str, *, seen: str = "") -> None:
        """Put a message back into its queue; with ``seen``, only while its lease still has that stamp."""
        self._add("return", tag, seen, queue, payload)

    def _add(self, *entry: str) -> None:
        self._entries.append(entry)
        self.is_urgent = True
        self._wake_hub()

    def _wake_hub(self) -> None:
        if self._wake is not None and threading.get_ident() != self._owner:
            self._wake()

    # Settling

    @property
    def owes(self) -> bool:
        return bool(self._batch or self._entries)

    def batch(self) -> list[str]:
        """Return the oldest entries as arguments of SETTLE, led by the batch's id; the same until ``confirm``."""
        if not self._batch and self._entries:
            self._batch.append(uuid.uuid4().hex)
            entries = self._entries
            for _ in range(min(BATCH, len(entries))):
                self._batch.extend(entries.popleft())
        return self._batch

    def confirm(self) -> None:
        """The batch is written."""
        self._batch = []
        self.is_urgent = self.is_urgent and bool(self._entries)


#: The ledger of this process. A process is one worker.
ledger = Ledger()
