"""A chat beside its predictions: its open queries, stop them, give it files, read and delete its messages."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import JSONResponse, Response

from agentic_flywheel.access.grant import Scope
from agentic_flywheel.broker.blobs import Blobs
from agentic_flywheel.broker.forgetting import Person
from agentic_flywheel.broker.sessions import load_session
from agentic_flywheel.errors import FlywheelError, InvalidQuery, InvalidRequest, UnknownSession
from agentic_flywheel.models import Identifier, Record, Turn
from http_gateway.flowise.guests import Guest, count_visit, guest_of, is_member
from http_gateway.flowise.names import message_id_of, reference_to
from http_gateway.flowise.refusals import refused
from http_gateway.multipart import received_form
from http_gateway.path_names import NameInPath
from producer.forgetting import forget

router = APIRouter(prefix="/api/v1", tags=["flowise"])
Name = Annotated[str, Path(max_length=200)]
#: Latest queries of an asker that are looked through for those of a chat.
_LATEST = 200
#: Turns of a chat that are listed.
_MOST_TURNS = 500


async def open_queries(guest: Guest, chat: str) -> list[Record]:
    """Return the open queries of a chat, in their order. Raises BrokerUnavailable."""
    producer = guest.producer
    try:
        session = await load_session(producer.batch, chat, asker=producer.asker)
        ids = session.under_way
    except UnknownSession:
        ids = ()
    if not ids:
        # It may have been asked under a session with another name.
        latest = await producer.recent(limit=_LATEST)
        return [each for each in reversed(latest) if not each.state.terminal and _chat_of(each) == chat]
    return [each for each in await producer.records(ids) if each is not None and not each.state.terminal]


def _chat_of(record: Record) -> str | None:
    named = record.query.metadata.get("chat_id")
    return named if isinstance(named, str) else record.query.session_id


@router.put("/chatmessage/abort/{name}/{chat_id:part}", summary="Stop the answer of a chat")
async def abort(request: Request, name: Name, chat_id: NameInPath) -> Response:
    """Cancel what is open in a chat. Like Flowise, it says yes in any case."""
    try:
        guest = guest_of(request, name).in_chat(chat_id)
        # The latest first: cancelling the head of a chat would start the next one.
        for record in reversed(await open_queries(guest, chat_id)):
            await guest.producer.cancel(record.query_id)
    except FlywheelError as error:
        return refused(error, streamed=False, discreet=not is_member(request))
    return JSONResponse({"status": 200, "message": "Chat message aborted"})


@router.post(
    "/attachments/{name}/{chat_id:part}",
    summary="Give a chat files",
    openapi_extra={"requestBody": {"content": {"multipart/form-data": {"schema": {"type": "object"}}}}},
)
async def attach(request: Request, name: Name, chat_id: NameInPath) -> Response:
    """Keep files for the next question of a chat. Their `content` stands for them in its `uploads`, as `file:full`."""
    try:
        guest = guest_of(request, name).in_chat(chat_id)
        count_visit(request, guest)
        if not guest.uploads:
            raise InvalidQuery("files", "files are taken with a token only")
        settings, producer = guest.caller.gateway.settings, guest.producer
        blobs, kept = Blobs(producer.batch, settings), list[dict[str, Any]]()
        async with received_form(request, settings) as form:
            for upload in await form.uploads():
                await blobs.keep(producer.asker, upload)
                content = reference_to(upload.digest or "", upload.size)
                kept.append({"name": upload.name, "mimeType": upload.type, "size": upload.size, "content": content})
    except FlywheelError as error:
        return refused(error, streamed=False, discreet=not is_member(request))
    return JSONResponse(kept)


@router.get("/chatmessage/{name}", summary="List the messages of a chat")
async def messages(
    request: Request,
    name: Name,
    chat: Annotated[Identifier | None, Query(alias="chatId")] = None,
    session: Annotated[Identifier | None, Query(alias="sessionId")] = None,
    order: Annotated[Literal["ASC", "DESC"], Query()] = "ASC",
) -> Response:
    """Return what was said in a chat of the caller, the oldest first."""
    try:
        guest, named = _own_chat(request, name, session or chat, "GET /api/v1/chatmessage")
        turns = await guest.producer.history(named, limit=_MOST_TURNS)
    except UnknownSession:
        turns = []
    except FlywheelError as error:
        return refused(error, streamed=False, discreet=not is_member(request))
    told = [message for turn in turns for message in _messages(turn, guest, named, chat or named)]
    return JSONResponse(told[::-1] if order == "DESC" else told)


@router.delete("/chatmessage/{name}", summary="Delete the messages of a chat")
async def delete(
    request: Request,
    name: Name,
    chat: Annotated[Identifier | None, Query(alias="chatId")] = None,
    session: Annotated[Identifier | None, Query(alias="sessionId")] = None,
) -> Response:
    """Forget a chat of the caller: here and in Flowise, with its queries, traces and files. It takes a while."""
    try:
        guest, named = _own_chat(request, name, session or chat, "DELETE /api/v1/chatmessage")
        producer = guest.producer
        gone = await forget(producer.settings, producer.catalog, Person(producer.asker, named))
    except FlywheelError as error:
        return refused(error, streamed=False, discreet=not is_member(request))
    return JSONResponse({"raw": [], "affected": sum(gone.deleted.values()), "left": list(gone.left)})


def _own_chat(request: Request, name: str, named: str | None, what: str) -> tuple[Guest, str]:
    """Return who asks, and the chat. Raises MissingScope, InvalidRequest, and what ``guest_of`` raises."""
    guest = guest_of(request, name)
    guest.caller.needs(Scope.READ, what)
    if named is None:
        # Without one Flowise would list, or delete, the chats of everybody.
        raise InvalidRequest("chatId", "it should name the chat")
    return guest, named


def _messages(turn: Turn, guest: Guest, session: str, chat: str) -> list[dict[str, Any]]:
    """Return a turn as two messages."""
    about = {
        "chatflowid": guest.flow.id if guest.flow else turn.flow,
        "chatId": chat,
        "sessionId": session,
        "chatType": "EXTERNAL",
        "createdDate": turn.at.isoformat(),
    }
    answer = message_id_of(turn.query_id)
    return [
        {"id": f"{answer}-asked", "role": "userMessage", "content": turn.question, **about},
        {"id": answer, "role": "apiMessage", "content": turn.answer, **about},
    ]
