"""The order of asking: sessions in parallel, the turns of one session one after another."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from producer.replay.items import ReplayItem

#: Number of items that are read ahead of one whose session is busy. It bounds the memory.
WINDOW = 5000


class Turns:
    """Gives out the items of a source in their order; one whose session has a turn under way waits for its end."""

    def __init__(self, items: Iterator[ReplayItem], *, window: int = WINDOW) -> None:
        self._items = items
        self._window = window
        self._ready: deque[ReplayItem] = deque()
        #: By session that has a turn under way: its turns that wait.
        self._waiting: dict[str, deque[ReplayItem]] = {}
        self._held = 0

    def next(self) -> ReplayItem | None:
        """Return an item that may be asked now; None: there is none before another one has ended, or none at all."""
        if self._ready:
            return self._ready.popleft()
        while self._held < self._window:
            item = next(self._items, None)
            if item is None:
                return None
            if item.session_id is None:
                return item
            waiting = self._waiting.get(item.session_id)
            if waiting is None:
                self._waiting[item.session_id] = deque()
                return item
            waiting.append(item)
            self._held += 1
        return None

    def ended(self, item: ReplayItem) -> None:
        """Let the next turn of the item's session follow."""
        if item.session_id is None:
            return
        waiting = self._waiting[item.session_id]
        if waiting:
            self._ready.append(waiting.popleft())
            self._held -= 1
        else:
            del self._waiting[item.session_id]
