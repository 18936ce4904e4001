"""Read what is stored in the broker. A later version may have written it: fields that this one lacks are ignored.

Another program, or a fault of the disk, may have damaged it: whoever reads says so with ``RecordUnreadable``.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from pydantic import ValidationError

from agentic_flywheel.broker.refusals import UNDECODABLE
from agentic_flywheel.errors import BrokerRefused, RecordUnreadable
from agentic_flywheel.given import fault_of
from agentic_flywheel.models import Model

logger = logging.getLogger(__name__)

#: What reading a damaged value raises: wrong JSON, a missing or wrong field, a number that is none.
DAMAGE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)

#: A counter of an asker's queries, or of what these cost, in an hour's figures (``lua/shared/tally.lua``).
_OF_ASKER = re.compile(r"(?:c\|[^|]*\||x\|)?u\|(.*)", re.DOTALL)
#: Refusals that tell of one damaged key, by their codes.
_OF_A_KEY = {"WRONGTYPE": "its key holds something of another type", UNDECODABLE: "it is not UTF-8"}

_M = TypeVar("_M", bound=Model)


def read_stored(model: type[_M], written: str) -> _M:
    """Return the noun that a JSON text describes. Raises ValidationError."""
    return model.model_validate_json(written, extra="ignore")


@contextmanager
def reading(kind: str, name: str) -> Iterator[None]:
    """Raise RecordUnreadable where the block finds what is stored damaged, or its key of another type.

    ``kind`` and ``name`` say what is read, such as a query and its id.
    """
    try:
        yield
    except BrokerRefused as refused:
        if refused.code not in _OF_A_KEY:
            raise
        raise RecordUnreadable(kind, name, _OF_A_KEY[refused.code]) from None
    except DAMAGE as damage:
        raise RecordUnreadable(kind, name, _fault(damage)) from None


@contextmanager
def passing_over(kind: str, name: str) -> Iterator[None]:
    """Log that one of several cannot be read, and go on: the others must not be missing because of it."""
    try:
        with reading(kind, name):
            yield
    except RecordUnreadable as unreadable:
        logger.warning("%s is left out: %s", name, unreadable)


def asker_counted(counter: str) -> str | None:
    """Return whose queries a counter of an hour's figures counts; None where it counts something else."""
    found = _OF_ASKER.fullmatch(counter)
    return found[1] if found else None


def counts_in(fields: Mapping[str, str]) -> dict[str, int]:
    """Return the counters of a hash; what is no whole number is left out."""
    return {name: int(value) for name, value in fields.items() if value.removeprefix("-").isdecimal()}


def _fault(damage: Exception) -> str:
    """Return what is wrong, without what is stored: that may be anybody's words."""
    if isinstance(damage, ValidationError):
        field, why = fault_of(damage)
        return f"{field}: {why}"
    if isinstance(damage, json.JSONDecodeError):
        return "it is not JSON"
    if isinstance(damage, KeyError):
        return f"its field {damage} is missing"
    return f"a field holds what cannot be read ({type(damage).__name__})"
