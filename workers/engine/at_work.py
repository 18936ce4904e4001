"""How many tasks a worker works on. Those that wait elsewhere, such as for a flow, are none of them.

What a worker has taken has had its turn, however long it waits for the worker's time. So no more is taken than keeps
the worker busy.
"""

from __future__ import annotations

from collections.abc import Callable


class AtWork:
    """Counts the tasks of this process that wait elsewhere. Its limit is off until the application sets it."""

    def __init__(self) -> None:
        #: Most tasks that are worked on at once; None: as many as have a place.
        self.most: int | None = None
        self._elsewhere = 0
        self._on_room: Callable[[], object] | None = None
        self._room_at = 0

    @property
    def is_full(self) -> bool:
        """Whether the hub waits for room."""
        return self._on_room is not None

    def elsewhere(self) -> AtWork:
        """Count a task as waiting elsewhere for the duration of a ``with`` block. On the loop's thread."""
        return self

    def __enter__(self) -> None:
        self._elsewhere += 1
        if self._on_room is not None and self._elsewhere >= self._room_at:
            on_room, self._on_room = self._on_room, None
            on_room()

    def __exit__(self, *_: object) -> None:
        self._elsewhere -= 1

    def spare(self, held: int) -> int | None:
        """Return how many more tasks would keep the worker busy where ``held`` are taken and have not ended.

        None for any number. On the hub's thread.
        """
        return None if self.most is None else self.most - (held - self._elsewhere)

    def room(self, held: int, on_room: Callable[[], object]) -> int | None:
        """Return how many more tasks to take where ``held`` are taken and have not ended; None for any number.

        There is room again when half of the most have gone: tasks are taken many at a time. ``on_room`` is then called
        on the loop's thread, unless that is because tasks have ended. On the hub's thread.
        """
        if self.most is None:
            return None
        # First this: meanwhile the loop goes on.
        self._room_at, self._on_room = held - self.most // 2, on_room
        worked_on = held - self._elsewhere
        if worked_on > self.most // 2:
            return 0
        self._on_room = None
        return self.most - worked_on


#: The tasks of this process. One process is one worker.
at_work = AtWork()
