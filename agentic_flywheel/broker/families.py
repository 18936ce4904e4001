"""Names with a common start: families of keys, queues and channels."""

from __future__ import annotations


class Family:
    """Names with a common start, such as the keys of all records. ``family(x)`` returns the name for ``x``.

    In a script, ``record_key(id)`` is replaced by the start and the value of ``id``.
    """

    __slots__ = ("start",)

    def __init__(self, start: str) -> None:
        self.start = start

    def __call__(self, of: object) -> str:
        return f"{self.start}{of}"

    def of(self, name: str) -> str | None:
        """Return what a name stands for; None where it is no name of this family."""
        return name.removeprefix(self.start) if name.startswith(self.start) else None
