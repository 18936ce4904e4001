"""Calls of scripts that somebody else sends: the script, its arguments, and the function that reads the reply."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from agentic_flywheel.broker.declaration import Script

R_co = TypeVar("R_co", covariant=True)


class ScriptCall(Generic[R_co]):
    """One run of a script. ``transport_scripts`` makes it; ``read`` makes a closed type of the reply."""

    __slots__ = ("arguments", "read", "script")

    def __init__(self, script: Script, arguments: tuple[str | int | float, ...], read: Callable[[Any], R_co]) -> None:
        self.script, self.arguments, self.read = script, arguments, read
