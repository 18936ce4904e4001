"""Query strings of the native API are closed against unknown names, as its bodies are."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import Request
from fastapi.dependencies.models import Dependant

from agentic_flywheel.errors import InvalidRequest


async def only_known_parameters(request: Request) -> None:
    """Raise InvalidRequest for a parameter that the route has not: a filter of a wrong name would let all through."""
    if not request.query_params:
        return
    known = set(_names(request.scope["route"].dependant))
    unknown = next((name for name in request.query_params if name not in known), None)
    if unknown is not None:
        takes = f"; there are {', '.join(sorted(known))}" if known else ""
        raise InvalidRequest(unknown[:100], f"there is no parameter of this name{takes}")


def _names(dependant: Dependant) -> Iterator[str]:
    yield from (each.alias for each in dependant.query_params)
    for each in dependant.dependencies:
        yield from _names(each)
