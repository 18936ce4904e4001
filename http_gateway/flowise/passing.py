"""What only a flow's Flowise can answer is passed on to it: leads, files, icons, documents. Never to anywhere else."""

from __future__ import annotations

import asyncio
import base64
import re
from collections import OrderedDict
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, PlainTextResponse, Response

from agentic_flywheel.access.grant import Scope
from agentic_flywheel.backends.bodies import FileContent, form_of_files
from agentic_flywheel.backends.flowise.widget import StoredFile
from agentic_flywheel.broker.records import load_record
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlywheelError, InvalidQuery, NothingThere, UnknownQuery
from agentic_flywheel.models import Identifier
from agentic_flywheel.settings import key_of
from agentic_flywheel.uploads import Upload, pieces_of, type_of
from http_gateway.flowise.answers import stored_at, stored_file
from http_gateway.flowise.clients import client_of, usual_client
from http_gateway.flowise.guests import Addresses, Guest, count_visit, expect, guest_of, is_member
from http_gateway.flowise.names import flowise_chat, stored_in
from http_gateway.flowise.refusals import refused
from http_gateway.gateway import Gateway
from http_gateway.json_body import BodyOf
from http_gateway.multipart import received_form

router = APIRouter(prefix="/api/v1", tags=["flowise"])

#: The Flowise whose protocol this is.
VERSION = "3.1.4"
#: Turns of a chat whose uploads are looked for.
_LATEST = 5
#: Icons that are kept, the bytes of the largest of these, and how many others one address without a token may ask for.
_MOST_ICONS, _SMALL, _ICONS_A_MINUTE = 300, 2**16, 60
_ICON = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
#: Types that a browser shows and that can do nothing there. Everything else is saved as a file.
_SHOWN = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp")
#: Nothing in what is passed on may run as if it came from here.
_HARMLESS = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox"}


class Lead(BaseModel):
    """Who somebody is, as the widget asks before a chat."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    flow: str = Field(alias="chatflowid", max_length=200)
    chat_id: str = Field("", alias="chatId", max_length=200)
    name: str | None = Field(None, max_length=500)
    email: str | None = Field(None, max_length=500)
    phone: str | None = Field(None, max_length=100)


@router.get("/ping", summary="Whether this process serves")
async def ping() -> Response:
    """Answer as Flowise does."""
    return PlainTextResponse("pong")


@router.get("/version", summary="Which Flowise this speaks like")
async def version() -> Response:
    """Name the version of Flowise whose API this is."""
    return JSONResponse({"version": VERSION})


_LEAD = BodyOf(Lead)


@router.post("/leads/", summary="Leave a name", openapi_extra=_LEAD.shown)
async def leave(request: Request) -> Response:
    """Pass on to Flowise who somebody is; it keeps that under a name of ours for the chat."""
    try:
        expect(request)
        given = await _LEAD(request)
        guest = guest_of(request, given.flow).in_chat(given.chat_id)
        count_visit(request, guest)
        flow = _one(guest)
        about = {"name": given.name, "email": given.email, "phone": given.phone}
        lead = {name: value for name, value in about.items() if value is not None}
        told = {**lead, "chatId": flowise_chat(guest.caller.asker, given.chat_id)}
        kept = await client_of(guest.caller.gateway, flow).widget.lead(flow, told)
    except FlywheelError as error:
        return refused(error, streamed=False, discreet=not is_member(request))
    shown = {name: kept[name] for name in ("id", "createdDate") if name in kept}
    return JSONResponse({**shown, **lead, "chatflowid": given.flow, "chatId": given.chat_id})


@router.get("/get-upload-file", summary="A file of a chat")
async def stored(
    request: Request,
    name: Annotated[str, Query(alias="chatflowId", max_length=200)],
    chat_id: Annotated[Identifier, Query(alias="chatId")],
    file: Annotated[str, Query(alias="fileName", min_length=1, max_length=400)],
) -> Response:
    """Return what a flow has made in a chat, or what was given to it. Pictures in a page come without a token: whoever
    knows the query and its chat is shown what the query's flow has made."""
    gateway: Gateway = request.app.state.gateway
    try:
        made = stored_in(file)
        found = await _made(gateway, chat_id, *made) if made else await _given(request, name, chat_id, file)
        if found is None:
            raise NothingThere("GET", request.url.path[:200])
    except FlywheelError as error:
        return refused(error, streamed=False, discreet=not is_member(request))
    shown = (type_of(file) or "") in _SHOWN
    ending = {} if shown else {"Content-Disposition": "attachment"}
    kind = type_of(file) if shown else "application/octet-stream"
    return Response(found.content, 200, {**_HARMLESS, **ending}, kind)


async def _made(gateway: Gateway, chat_id: str, query_id: str, file: str) -> StoredFile | None:
    """Return a file that the flow of a query has made. Raises FlowError, UnknownQuery."""
    batch = gateway.bridge.producer(gateway.local).batch
    record = await load_record(batch, query_id)
    answer = record.answer
    if answer is None or chat_id not in (record.query.session_id, record.query.metadata.get("chat_id")):
        raise UnknownQuery(query_id)
    chat = next((stored_at(each)[0] for each in answer.artifacts if stored_file(each) == file), None)
    if chat is None:
        raise UnknownQuery(query_id)
    flow = gateway.catalog.flow(answer.flow)
    return await _file(gateway, flow, chat, file)


async def _given(request: Request, name: str, chat_id: str, file: str) -> StoredFile | None:
    """Return a file that was given to the latest questions of a chat. Raises FlowError, UnknownSession."""
    guest = guest_of(request, name).in_chat(chat_id)
    turns = await guest.producer.history(chat_id, limit=_LATEST)
    records = await guest.producer.records([turn.query_id for turn in reversed(turns)])
    for answer in (record.answer for record in records if record is not None):
        if answer is not None and answer.chat_id is not None:
            flow = guest.caller.gateway.catalog.flow(answer.flow)
            if (found := await _file(guest.caller.gateway, flow, answer.chat_id, file)) is not None:
                return found
    return None


async def _file(gateway: Gateway, flow: Flow, chat: str, file: str) -> StoredFile | None:
    key = key_of(flow, gateway.settings)
    return await client_of(gateway, flow).widget.stored_file(flow, chat, file, api_key=key)


@router.get("/node-icon/{name}", summary="The icon of a node")
async def icon(request: Request, name: Annotated[str, Path(max_length=200)]) -> Response:
    """Pass on an icon of Flowise."""
    try:
        found = await _icon(request, name) if _ICON.fullmatch(name) else None
        if found is None:
            raise NothingThere("GET", request.url.path[:200])
    except FlywheelError as error:
        return refused(error, streamed=False, discreet=not is_member(request))
    kind = found.type if found.type.startswith("image/") else "application/octet-stream"
    return Response(found.content, 200, {**_HARMLESS, "Cache-Control": "public, max-age=86400"}, kind)


async def _icon(request: Request, name: str) -> StoredFile | None:
    """Return an icon. Pictures in a page come without a token, so what they ask of Flowise is kept and bounded."""
    state = request.app.state
    if not hasattr(state, "icons"):
        state.icons, state.icon_visits = OrderedDict[str, StoredFile | None](), Addresses(_ICONS_A_MINUTE)
    icons: OrderedDict[str, StoredFile | None] = state.icons
    if name in icons:
        icons.move_to_end(name)
        return icons[name]
    if not is_member(request):
        state.icon_visits.count(request.client.host if request.client else "")
    found = await usual_client(state.gateway).widget.icon(name)
    if found is None or len(found.content) <= _SMALL:
        icons[name] = found
        if len(icons) > _MOST_ICONS:
            icons.popitem(last=False)
    return found


@router.post(
    "/vector/upsert/{name}",
    summary="Put documents into a flow's store",
    openapi_extra={"requestBody": {"content": {"multipart/form-data": {"schema": {"type": "object"}}}}},
)
async def upsert(request: Request, name: Annotated[str, Path(max_length=200)]) -> Response:
    """Pass documents on to a flow. They are there for everybody who asks it, so this needs the scope `manage`."""
    try:
        guest = guest_of(request, name)
        guest.caller.needs(Scope.MANAGE, "POST /api/v1/vector/upsert")
        gateway, flow = guest.caller.gateway, _one(guest)
        async with received_form(request, gateway.settings) as form:
            uploads = await form.uploads()
            if not uploads:
                raise InvalidQuery("files", "it should have at least one file")
            files = form_of_files([(each.name, each.type, _content(each)) for each in uploads])
            key, limit = key_of(flow, gateway.settings), flow.timeout.total_seconds()
            done = await client_of(gateway, flow).widget.upsert(flow, files, api_key=key, timeout=limit)
    except FlywheelError as error:
        return refused(error, streamed=False, discreet=not is_member(request))
    return JSONResponse(done)


def _content(upload: Upload) -> FileContent:
    return FileContent(upload.size, partial(_pieces, upload))


async def _pieces(upload: Upload) -> AsyncIterator[bytes]:
    """Yield a received file in base64, piece by piece."""
    assert upload.source is not None
    pieces = pieces_of(upload.source)
    while piece := await asyncio.to_thread(next, pieces, b""):
        yield base64.b64encode(piece)


def _one(guest: Guest) -> Flow:
    if guest.flow is None:
        raise InvalidQuery("flow", "it should name one flow: `auto` is for questions")
    return guest.flow
