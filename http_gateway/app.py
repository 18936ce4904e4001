"""Put the surfaces together: one FastAPI application with every route, behind the entrance."""

from __future__ import annotations

import logging
from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match, Route

from agentic_flywheel.access.grant import LOCAL_GRANT
from agentic_flywheel.errors import (
    BrokerRefused,
    BrokerUnavailable,
    FlywheelError,
    InvalidQuery,
    InvalidRequest,
    NothingThere,
    RequestFailed,
)
from agentic_flywheel.figures.metrics import Exposition
from agentic_flywheel.given import reason_of, told_together
from http_gateway.described import described
from http_gateway.entrance import TOLD, Entrance
from http_gateway.flowise import FLOWISE
from http_gateway.gateway import Gateway
from http_gateway.native import NATIVE
from http_gateway.openai import OPENAI
from http_gateway.problems import status_of
from http_gateway.standing import router as standing
from http_gateway.surfaces import Surface, surface_at
from http_gateway.traffic import Traffic
from mcp_bridge.discretion import outward

logger = logging.getLogger(__name__)

#: The longest prefix decides; what belongs to none is answered as the last one does, our own.
SURFACES: tuple[Surface, ...] = (FLOWISE, OPENAI, NATIVE)


def build_app(gateway: Gateway) -> FastAPI:
    """Return the application of a gateway. What is served is its entrance: ``app.state.entrance``."""
    app = FastAPI(
        title="Agentic Flywheel",
        version=version("agentic-flywheel"),
        description="A durable, observable queue in front of Flowise.",
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.gateway = gateway
    traffic = Traffic()
    app.state.exposition = Exposition(
        lambda: gateway.producer(gateway.local, LOCAL_GRANT).batch, lambda: gateway.catalog, others=[traffic]
    )
    app.include_router(standing)
    for surface in SURFACES:
        for router in surface.routers:
            app.include_router(router, dependencies=surface.dependencies)
    app.add_exception_handler(FlywheelError, _refused)
    app.add_exception_handler(RequestValidationError, _not_acceptable)
    app.add_exception_handler(HTTPException, _not_found)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _failed)
    # FastAPI's own way to give another description.
    app.openapi = lambda: described(app, SURFACES)  # type: ignore[method-assign]
    app.state.entrance = Entrance(app, gateway, SURFACES, traffic)
    return app


def _shown(request: Request, error: FlywheelError, status: int | None = None) -> Response:
    info = outward(error)
    return surface_at(request.url.path, SURFACES).refusal(info, status or status_of(info))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, FlywheelError)
    if isinstance(error, BrokerUnavailable | BrokerRefused):
        # The stack may have been started, or come back, somewhere else: the next request finds it there.
        await request.app.state.gateway.bridge.moved()
    return _shown(request, error)


async def _not_acceptable(request: Request, refused: Exception) -> Response:
    """Name every field that is not acceptable, and no value."""
    assert isinstance(refused, RequestValidationError)
    faults = dict[str, str]()
    for each in refused.errors():
        # The first part says where it stood: in the body, the query string, the path.
        name = ".".join(map(str, each["loc"][1:])) or str(each["loc"][0])
        faults.setdefault(name, reason_of(each))
    # Beside a body nothing is asked: what is wrong is the request.
    kind = InvalidQuery if refused.errors()[0]["loc"][0] == "body" else InvalidRequest
    return _shown(request, kind(*told_together(faults)))


async def _gone(request: Request, gone: Exception) -> Response:
    """Nobody reads this: the client went away before its body had come."""
    return Response(status_code=400)


async def _failed(request: Request, fault: Exception) -> Response:
    """Say that it was a fault of ours. The entrance, to which it is raised again, then knows that it was told."""
    info = outward(RequestFailed(request.url.path[:200]))
    logger.error("%s failed, error_id %s", request.url.path, info.error_id, exc_info=fault)
    request.scope[TOLD] = True
    return surface_at(request.url.path, SURFACES).refusal(info, 500)


async def _not_found(request: Request, refused: Exception) -> Response:
    assert isinstance(refused, HTTPException)
    error = NothingThere(request.method[:20], request.url.path[:200])
    shown = _shown(request, error, refused.status_code)
    for name, value in (refused.headers or {}).items():
        shown.headers[name] = value
    if refused.status_code == 405:
        shown.headers["Allow"] = ", ".join(sorted(_methods_at(request)))
    return shown


def _methods_at(request: Request) -> set[str]:
    """Return every method of a path. The framework tells those of the first route alone."""
    found = set[str]()
    asked = {"type": "http", "method": request.method, "path": request.url.path}
    for router in (standing, *(each for surface in SURFACES for each in surface.routers)):
        for route in router.routes:
            if isinstance(route, Route) and route.matches(asked)[0] is not Match.NONE:
                found |= route.methods or set()
    # The entrance answers it wherever there is a GET.
    return found | {"HEAD"} if "GET" in found else found
