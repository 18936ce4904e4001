"""Make an error from its object: the reverse of ``FlywheelError.describe``."""

from __future__ import annotations

from dataclasses import fields

from agentic_flywheel.errors.base import ErrorInfo, FlywheelError
from agentic_flywheel.errors.queue import QueryFailed


def rebuild(info: ErrorInfo) -> FlywheelError:
    """Return the error that ``info`` describes. An unknown class becomes a ``QueryFailed`` with the same text."""
    known = _by_name(FlywheelError).get(info.error_type)
    if known is not None:
        names = {each.name for each in fields(known)}
        try:
            return known(**{name: value for name, value in info.details.items() if name in names})
        except TypeError:
            pass
    return QueryFailed(info.query_id or "", info.error_type, info.error)


def _by_name(base: type[FlywheelError]) -> dict[str, type[FlywheelError]]:
    found = {base.__name__: base}
    for sub in base.__subclasses__():
        found |= _by_name(sub)
    return found
