"""The queue between the code that records observations and the sink, and the thread that sends them.

Recording never blocks. The queue has bounds; observations that do not fit are dropped and counted.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from agentic_flywheel.cutting import cut
from agentic_flywheel.forks import preparing
from agentic_flywheel.tracing.observation import Observation
from agentic_flywheel.tracing.sink import Sink, next_wait
from agentic_flywheel.tracing.text import Mask, as_text, masked

logger = logging.getLogger(__name__)

#: Seconds between two looks of the thread at the queue. So recording does not have to wake the thread.
INTERVAL = 0.25
#: Shortest time between two log lines about dropped observations, in seconds.
LOG_INTERVAL = 60.0
#: Number of observations after which the thread releases the interpreter for ``BREATH`` seconds, so that the worker's
#: other threads wait only briefly. One more for every ``BACKLOG_PER_SLICE`` waiting observations: in a busy process
#: each release costs the thread a switch interval.
SLICE = 8
BACKLOG_PER_SLICE = 100
BREATH = 0.00005
#: Longest text, in characters, whose masked form is cached.
SHORT = 2000


#: An observation, or a function that makes it when it is sent.
Recorded = Observation | Callable[[], Observation]


@dataclass(frozen=True, slots=True)
class ExportCounts:
    """The counts of this process's observations so far."""

    accepted: int
    sent: int
    dropped: int
    pending: int
    pending_bytes: int
    #: Why observations were last dropped or had to wait.
    reason: str = ""


class Exporter:
    """Takes observations from any thread and sends them from one thread of its own.

    That thread also creates the sink. So connections are not shared with a forked child, and no query waits for them.
    """

    def __init__(
        self,
        make_sink: Callable[[], Sink],
        *,
        max_count: int = 100_000,
        max_bytes: int = 64 * 2**20,
        text_limit: int = 16_384,
        mask: Mask | None = None,
        on_left: Callable[[Sequence[str]], None] | None = None,
    ) -> None:
        """``on_left`` is called on the exporter's thread with the ids of queries whose root was sent or given up."""
        self._make_sink, self._mask, self._text_limit = make_sink, mask, text_limit
        self._on_left = on_left
        self._max_count, self._max_bytes = max_count, max_bytes
        # The same texts come often: a question in several steps of its query, a flow's name and settings in each query.
        self._shown_again = lru_cache(maxsize=512)(self._shown)
        self._queue: deque[tuple[int, Recorded, str]] = deque()
        # The first line is written by the recording threads, the second by the exporter's thread alone. Two recording
        # threads can lose an addition between them; that is corrected when the queue runs empty.
        self._accepted = self._accepted_bytes = self._refused = 0
        self._sent = self._dropped = self._done_bytes = 0
        self._reason = ""
        self._paused_until = 0.0
        self._logged_at = float("-inf")
        self._logged = 0
        self._wake = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._start_lock = threading.Lock()
        _forked.add(self)
        atexit.register(self.close)

    def offer(self, seen: Recorded, weight: int, root_of: str = "") -> bool:
        """Put an observation into the queue, or count it as dropped where there is no room. Returns whether it was put.

        ``weight`` is its size in bytes. ``root_of`` is the query's id where the observation is a root.
        """
        if (
            len(self._queue) >= self._max_count
            or self._accepted_bytes - self._done_bytes + weight > self._max_bytes
            or self._closing
        ):
            self._refused += 1
            return False
        self._accepted += 1
        self._accepted_bytes += weight
        self._queue.append((weight, seen, root_of))
        if self._thread is None:
            self._start()
        return True

    def refuse(self) -> None:
        """Count an observation that failed before it could be offered."""
        self._refused += 1

    @property
    def counts(self) -> ExportCounts:
        return ExportCounts(
            accepted=self._accepted,
            sent=self._sent,
            dropped=self._dropped + self._refused,
            pending=max(0, self._accepted - self._sent - self._dropped),
            pending_bytes=max(0, self._accepted_bytes - self._done_bytes),
            reason=self._reason,
        )

    def close(self, timeout: float = 1.0) -> bool:
        """Send what can be sent in ``timeout`` seconds. Returns whether everything was sent."""
        self._closing = True
        self._wake.set()
        thread = self._thread
        if thread is not None:
            thread.join(timeout)
        atexit.unregister(self.close)
        return not self._queue and (thread is None or not thread.is_alive())

    def _start(self) -> None:
        with self._start_lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="flywheel-traces", daemon=True)
                self._thread.start()

    def after_fork(self) -> None:
        """Start empty in a forked child. The parent keeps its thread and sends what it recorded."""
        self._queue.clear()
        self._thread = None
        self._start_lock = threading.Lock()
        self._wake = threading.Event()
        self._accepted = self._accepted_bytes = self._refused = self._sent = self._dropped = self._done_bytes = 0

    def _run(self) -> None:
        with preparing:
            sink = self._make_sink()
        while True:
            self._wake.wait(INTERVAL)
            while self._queue:
                try:
                    self._export(sink, self._take(sink))
                except Exception as why:
                    # Go on with the next batch, whatever the fault is: no answer of a worker may depend on a trace.
                    self._reason = f"{type(why).__name__}: {why}"
                self._report()
            self._report()
            if self._closing and not self._queue:
                sink.close()
                return
            if not self._queue:
                self._done_bytes = self._accepted_bytes

    def _take(self, sink: Sink) -> list[tuple[int, Recorded, str]]:
        taken: list[tuple[int, Recorded, str]] = []
        size = 0
        while self._queue and len(taken) < sink.batch_count and size < sink.batch_bytes:
            taken.append(self._queue.popleft())
            size += taken[-1][0]
        return taken

    def _export(self, sink: Sink, taken: list[tuple[int, Recorded, str]]) -> None:
        sent_before, dropped_before = self._sent, self._dropped
        try:
            if time.monotonic() >= self._paused_until:
                encoded = self._encode(sink, [seen for _, seen, _ in taken])
                if encoded:
                    self._send(sink, encoded)
        finally:
            # Count the rest of the batch as dropped, whatever went wrong.
            self._dropped += len(taken) - (self._sent - sent_before) - (self._dropped - dropped_before)
            self._done_bytes += sum(weight for weight, _, _ in taken)
            roots = [query_id for _, _, query_id in taken if query_id]
            if roots and self._on_left is not None:
                self._on_left(roots)

    def _encode(self, sink: Sink, batch: list[Recorded]) -> list[bytes]:
        encoded = []
        slice_size = SLICE + (len(batch) + len(self._queue)) // BACKLOG_PER_SLICE
        for number, seen in enumerate(batch, 1):
            try:
                observation = seen if isinstance(seen, Observation) else seen()
                encoded.append(sink.encode(observation, self._text))
            except Exception as why:
                # Drop only the one that cannot be encoded, for example because a time is not a number.
                self._dropped += 1
                self._reason = f"{type(why).__name__}: {why}"
            if number % slice_size == 0:
                time.sleep(BREATH)
        return encoded

    def _text(self, value: Any) -> str:
        text = as_text(value)
        return self._shown_again(text) if len(text) <= SHORT else self._shown(text)

    def _shown(self, text: str) -> str:
        return masked(cut(text, self._text_limit), self._mask)

    def _send(self, sink: Sink, batch: Sequence[bytes]) -> None:
        attempt = 0
        while True:
            attempt += 1
            outcome = sink.send(batch)
            if outcome.kind == "delivered":
                self._sent += len(batch) - outcome.rejected
                self._dropped += outcome.rejected
                self._reason = outcome.reason
                return
            self._reason = outcome.reason
            if outcome.kind == "too_large" and len(batch) > 1:
                half = len(batch) // 2
                self._send(sink, batch[:half])
                self._send(sink, batch[half:])
                return
            wait = next_wait(attempt, outcome.wait) if outcome.kind == "again" and not self._closing else None
            if wait is None:
                self._dropped += len(batch)
                if outcome.kind == "refused" and outcome.wait:
                    self._paused_until = time.monotonic() + outcome.wait
                self._report()
                return
            # Set by ``close`` only; then one last attempt follows at once.
            self._wake.wait(wait)

    def _report(self) -> None:
        dropped = self._dropped + self._refused
        now = time.monotonic()
        if dropped > self._logged and (now - self._logged_at >= LOG_INTERVAL or self._closing):
            logger.warning("%d trace observations dropped so far: %s", dropped, self._reason or "the queue is full")
            self._logged, self._logged_at = dropped, now


_forked: weakref.WeakSet[Exporter] = weakref.WeakSet()


def _after_fork() -> None:
    for exporter in list(_forked):
        exporter.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
