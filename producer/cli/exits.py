"""The exit codes."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """How a command ends."""

    DONE = 0
    #: The query ended with an error, or a check found something.
    FAILED = 1
    #: An argument, a setting or the registry is not acceptable, or names something that does not exist. Also typer's.
    UNUSABLE = 2
    #: The broker cannot be reached or its queue is full, or the stack cannot start.
    UNAVAILABLE = 3
    #: The wait was over before the answer came; the query goes on.
    TIMED_OUT = 4
    #: The query was cancelled, or its deadline passed.
    CANCELLED = 5
    #: The query's flow asks a person; the query goes on with the decision.
    INPUT_REQUIRED = 6
    #: A fault of ours.
    FAULT = 70
