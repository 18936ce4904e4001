"""Failures of reading what is stored in the broker."""

from __future__ import annotations

from dataclasses import dataclass

from agentic_flywheel.errors.base import FlywheelError


@dataclass(eq=False)
class RecordUnreadable(FlywheelError):
    """What the broker holds of a query, a session or the like is damaged, so that nobody can read it."""

    #: What it is, such as `query` or `session`.
    kind: str
    name: str
    reason: str

    suggestions = (
        "Ask again: what is damaged does not mend itself.",
        "Run `flywheel audit`: it names the keys that another program has written.",
        "Find out what else writes to this broker: what we store is only ever changed by us.",
    )

    @property
    def message(self) -> str:
        return f"The broker's record of {self.kind} {self.name} cannot be read: {self.reason}"
