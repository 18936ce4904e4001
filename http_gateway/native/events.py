"""A query's events as server-sent events: those of the past first, then as they come."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query
from starlette.responses import Response
from starlette.types import Scope as AsgiScope

from agentic_flywheel.access.grant import Scope
from agentic_flywheel.broker.events import NO_PLACE, is_place, read_events
from agentic_flywheel.errors import ErrorInfo, FlywheelError, InvalidRequest
from agentic_flywheel.models import EventKind, Record
from http_gateway.callers import CallerOf, GatewayCaller
from http_gateway.native.bodies import QueryId
from http_gateway.native.shown import record_shown
from http_gateway.streams import event_stream, frame
from mcp_bridge.discretion import outward, outward_event

router = APIRouter(prefix="/v1/queries", tags=["queries"])

#: Milliseconds after which a client comes back whose stream broke.
COME_BACK = 1_000


@router.get(
    "/{query_id}/events",
    summary="Follow a query",
    responses={
        200: {"content": {"text/event-stream": {}}},
        204: {"description": "The reader has seen the last event: it need not come back"},
    },
)
async def follow(
    caller: Annotated[GatewayCaller, Depends(CallerOf(Scope.ASK))],
    query_id: QueryId,
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID", max_length=100)] = None,
    after: Annotated[str | None, Query(max_length=100, description="In place of Last-Event-ID.")] = None,
) -> Response:
    """Stream what happens to a query, up to the event `final`, which has the whole query. A reader that was cut off
    goes on behind the event with the id in `Last-Event-ID`, also after a restart of the gateway."""
    place = last_event_id or after or "-"
    if not is_place(place):
        raise InvalidRequest("Last-Event-ID" if last_event_id else "after", NO_PLACE)
    record = await caller.producer.status(query_id)
    if await _has_seen_all(caller, record, place):
        return Response(status_code=204)
    return event_stream(_frames(caller, query_id, place), caller, query_id)


async def _has_seen_all(caller: GatewayCaller, record: Record, place: str) -> bool:
    """Return whether a place is the last event's. An EventSource comes back after each end, until it is told 204."""
    if place == "-" or not record.state.terminal:
        return False
    ended = int((record.finished or record.created).timestamp() * 1000)
    return int(place.split("-")[0]) >= ended and not await read_events(caller.producer.batch, record.query_id, place)


def cut(info: ErrorInfo, scope: AsgiScope) -> bytes:
    """Return what a stream ends with that an error has cut."""
    return frame(info.model_dump(mode="json"), event="error")


async def _frames(caller: GatewayCaller, query_id: str, place: str) -> AsyncIterator[bytes]:
    yield f"retry: {COME_BACK}\n\n".encode()
    try:
        async for event in caller.producer.stream(query_id, after=place):
            told: dict[str, Any] = {"kind": event.kind, "at": event.at.isoformat(), **outward_event(event.data)}
            if event.kind == EventKind.FINAL:
                record = await caller.producer.status(query_id)
                told["query"] = record_shown(record).model_dump(mode="json", exclude_none=True)
            yield frame(told, event=event.kind, id=event.id)
    except FlywheelError as error:
        # The status was sent long ago: what went wrong is an event, and the client comes back by itself.
        yield frame(outward(error, query_id).model_dump(mode="json"), event="error")
