"""The exit codes."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """How a command ends."""

    DONE = 0
    #: The query ended with an error, or a check found something.
    FAILED = 1
    #: An argument, a setting or the registry is not acceptable, or names what does not exist. Also typer's own.
    UNUSABLE = 2
    #: The broker cannot be reached or takes no more, or the stack cannot be had.
    UNAVAILABLE = 3
    #: The wait was over before the answer came; the query goes on.
    TIMED_OUT = 4
    #: The query was cancelled, or its deadline passed.
    CANCELLED = 5
    #: A fault of ours.
    FAULT = 70
