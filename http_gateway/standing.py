"""Whether this process serves, and whether queries that come here will be answered."""

from __future__ import annotations

import asyncio
import time

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from agentic_flywheel.access.grant import LOCAL_GRANT
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.listing import living_workers
from agentic_flywheel.errors import FlywheelError
from http_gateway.gateway import Gateway

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


async def _readiness(gateway: Gateway) -> dict[str, str]:
    batch: Batch = gateway.producer(gateway.local, LOCAL_GRANT).batch
    try:
        async with asyncio.timeout(_PATIENCE):
            workers = await living_workers(batch)
    except (FlywheelError, TimeoutError):
        return {"status": "not ready", "broker": "away", "workers": "unknown"}
    told = "living" if workers else "none"
    return {"status": "ready" if workers else "not ready", "broker": "up", "workers": told}
