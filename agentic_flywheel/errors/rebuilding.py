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
            error = known(**{name: value for name, value in info.details.items() if name in names})
            error.describe()  # details of another type than the class has show only where it is told
            return error
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            pass
    return QueryFailed(info.query_id or "", info.error_type, info.error)


def _by_name(base: type[FlywheelError]) -> dict[str, type[FlywheelError]]:
    found = {base.__name__: base}
    for sub in base.__subclasses__():
        found |= _by_name(sub)
    return found
