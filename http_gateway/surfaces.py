"""The APIs that one gateway speaks: each has its paths, its routes and its own shape of errors."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastapi import APIRouter
from fastapi.params import Depends as DependsOn
from starlette.responses import Response
from starlette.types import Scope

from agentic_flywheel.errors import ErrorInfo

if TYPE_CHECKING:
    from http_gateway.gateway import Gateway


def _nobody(gateway: Gateway, scope: Scope) -> bool:
    return False


def _no_origin(gateway: Gateway, scope: Scope, origin: str) -> bool:
    return False


@dataclass(frozen=True)
class Surface:
    """One API."""

    name: str
    #: What its paths begin with.
    prefixes: tuple[str, ...]
    #: Returns the response to a request that ended with this error, with this HTTP status.
    refusal: Callable[[ErrorInfo, int], Response]
    #: Returns the last frames of a stream of events that this error has cut.
    cut: Callable[[ErrorInfo, Scope], bytes]
    routers: tuple[APIRouter, ...]
    #: What each of its routes depends on beside its own.
    dependencies: tuple[DependsOn, ...] = field(default=(), kw_only=True)
    #: Most bytes of a body that is no form with files; a route may take fewer.
    most_body: int
    #: The paths whose routes receive forms with files piece by piece. Anywhere else a form is a body like any other.
    takes_form: re.Pattern[str] | None = None
    #: Whether a request without a token is let in; the surface then says what it may do.
    lets_in: Callable[[Gateway, Scope], bool] = _nobody
    #: Whether pages of an origin may send this request, beside those of FLYWHEEL_HTTP_ORIGINS.
    admits: Callable[[Gateway, Scope, str], bool] = _no_origin


def surface_at(path: str, surfaces: tuple[Surface, ...]) -> Surface:
    """Return the surface to which a path belongs: that of the longest prefix; else the last one."""
    found = [
        (len(prefix), each)
        for each in surfaces
        for prefix in each.prefixes
        if path == prefix or path.startswith(f"{prefix}/")
    ]
    return max(found, key=lambda pair: pair[0])[1] if found else surfaces[-1]
