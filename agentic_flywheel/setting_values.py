"""The kinds of values that settings have, beside numbers and texts."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from agentic_flywheel.addresses import checked_address
from agentic_flywheel.catalog import Duration
from agentic_flywheel.given import MAX_QUERY_BYTES
from agentic_flywheel.places import expanded, file_at, folder_at


def _second_at_least(duration: timedelta) -> timedelta:
    if duration < timedelta(seconds=1):
        raise ValueError("should be a duration of at least a second, such as 90s, 15m, 7d")
    return duration


#: A duration that is kept in whole seconds, or within which workers look once a second. With less, a query would be
#: gone before whoever waits for it is told of its end.
LongDuration = Annotated[Duration, AfterValidator(_second_at_least)]

#: An address of a server.
Url = Annotated[str, AfterValidator(checked_address)]

#: Paths, with `~` for the home folder: of a regular file or of a folder, each there or not; and of what may be written
#: to, such as /dev/stdout.
FilePlace = Annotated[Path, AfterValidator(file_at)]
FolderPlace = Annotated[Path, AfterValidator(folder_at)]
Place = Annotated[Path, AfterValidator(expanded)]


def room_for_one(limit: int) -> int:
    """Return a limit of bytes. Raises ValueError where it is below what one query may have."""
    if limit and limit < MAX_QUERY_BYTES:
        raise ValueError(f"should be 0, or {MAX_QUERY_BYTES:,} at least: one query may have so many bytes")
    return limit


#: Turns of an owner for each turn of one with weight 1. A turn is divided by it, so it is bounded.
Weight = Annotated[int, Field(ge=1, le=10)]


def _pairs(value: object) -> object:
    """Return the pairs of a text such as ``alice=3,bob=2``."""
    if not isinstance(value, str):
        return value
    pairs = [each.partition("=") for each in value.split(",") if each.strip()]
    names = [name.strip() for name, _, _ in pairs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"{twice}: it is there twice")
    return dict(zip(names, (number for _, _, number in pairs), strict=True))


#: Weights of owners, as ``alice=3,bob=2``.
Weights = Annotated[dict[Annotated[str, Field(min_length=1)], Weight], NoDecode, BeforeValidator(_pairs)]


def _off_is_none(value: object) -> object:
    return None if value == "off" else value


#: A port, 0 for any that is free, or ``off``, here None.
PortOrOff = Annotated[Annotated[int, Field(ge=0, le=65_535)] | None, BeforeValidator(_off_is_none)]
