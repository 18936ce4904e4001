"""What stands beside the APIs: whether this process serves, its figures, and what the paths are."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from agentic_flywheel.access.grant import LOCAL_GRANT, Scope
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.listing import living_workers
from agentic_flywheel.errors import FlywheelError
from http_gateway.callers import CallerOf, GatewayCaller
from http_gateway.gateway import Gateway
from http_gateway.pages import POLICY, page_of

router = APIRouter(tags=["standing"])
#: Seconds for which what was found stands: probes of many balancers cost the broker one look.
_FRESH = 1.0
#: Seconds that the broker has to answer.
_PATIENCE = 2.0


@router.get("/healthz", summary="Whether this process serves")
async def healthz() -> Response:
    """Answer while the gateway serves."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz", summary="Whether queries that come here will be answered")
async def readyz(request: Request) -> Response:
    """Answer 200 while the broker answers and a worker lives, else 503."""
    state = request.app.state
    at, found = getattr(state, "readiness", (0.0, dict[str, str]()))
    if time.monotonic() - at > _FRESH:
        found = await _readiness(state.gateway)
        state.readiness = (time.monotonic(), found)
    return JSONResponse(found, 200 if found["status"] == "ready" else 503)


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request, caller: Annotated[GatewayCaller, Depends(CallerOf(Scope.READ))]) -> Response:
    """Return the figures of queues, flows and this process. Where tokens are needed, Prometheus sends one, too."""
    text = await request.app.state.exposition.written()
    return Response(text, media_type=CONTENT_TYPE_LATEST)


@router.get("/openapi.json", include_in_schema=False)
async def description(request: Request) -> Response:
    return JSONResponse(request.app.openapi())


@router.get("/docs", include_in_schema=False)
async def page(request: Request) -> Response:
    return HTMLResponse(page_of(request.app.openapi()), headers={"Content-Security-Policy": POLICY})


@router.get("/", include_in_schema=False)
async def front() -> Response:
    return RedirectResponse("docs")


async def _readiness(gateway: Gateway) -> dict[str, str]:
    batch: Batch = gateway.producer(gateway.local, LOCAL_GRANT).batch
    try:
        async with asyncio.timeout(_PATIENCE):
            workers = await living_workers(batch)
    except (FlywheelError, TimeoutError):
        return {"status": "not ready", "broker": "away", "workers": "unknown"}
    told = "living" if workers else "none"
    return {"status": "ready" if workers else "not ready", "broker": "up", "workers": told}
