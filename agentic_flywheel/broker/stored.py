"""Read what is stored in the broker. A later version may have written it: fields that this one lacks are ignored."""

from __future__ import annotations

from typing import TypeVar

from agentic_flywheel.models import Model

_M = TypeVar("_M", bound=Model)


def read_stored(model: type[_M], written: str) -> _M:
    """Return the noun that a JSON text describes. Raises ValidationError."""
    return model.model_validate_json(written, extra="ignore")
