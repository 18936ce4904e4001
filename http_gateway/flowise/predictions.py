"""Predictions: read what Flowise's clients send, have it answered, and tell it as Flowise does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.responses import JSONResponse, Response

from agentic_flywheel.broker.events import read_events
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import ErrorInfo, FlywheelError, InputRequired, InvalidQuery, QueryLost, RequestTooLarge
from agentic_flywheel.given import MAX_QUERY_BYTES
from agentic_flywheel.models import Answer, Event, EventKind, Record
from agentic_flywheel.stops import Stop
from agentic_flywheel.uploads import Upload
from http_gateway.flowise.answers import ClientChat, node_of_stop, plain_answer, plain_question
from http_gateway.flowise.bodies import (
    GivenDecision,
    Prediction,
    fields_of_form,
    is_streamed,
    read_prediction,
)
from http_gateway.flowise.chats import open_queries
from http_gateway.flowise.frames import FrameTeller
from http_gateway.flowise.guests import Guest, count_visit, guest_of, is_member
from http_gateway.flowise.refusals import refused, said_of
from http_gateway.json_body import QUESTION_BODY, SMALL_BODY, beside_loop, read_json, received
from http_gateway.multipart import received_form
from http_gateway.streams import event_stream
from http_gateway.under_way import GONE, names_query, until_gone
from mcp_bridge.discretion import outward

router = APIRouter(prefix="/api/v1", tags=["flowise"])
Name = Annotated[str, Path(max_length=200, description="A flow's key, its id in Flowise, or `auto`.")]

#: Events behind which there may be nothing more to tell.
_ENDS = (EventKind.INPUT_REQUIRED, EventKind.FINAL)
#: Bytes of a body as Flowise takes them, and of one beside the contents of its files.
MOST_BODY, MOST_WORDS = 50 * 2**20, QUESTION_BODY
#: Bytes of a text that can only be what a file holds: no other field may be as long.
_CONTENT = MAX_QUERY_BYTES
#: Seconds between two looks whether the flow has begun to speak; the first is when its client is told why not.
PATIENCE = 1.0
#: Seconds of silence after which a comment is sent.
_BEAT = 10.0


@dataclass(frozen=True)
class AskedChat:
    """A query that is under way for a request."""

    guest: Guest
    chat: ClientChat
    #: The event behind which its client has not been told yet.
    after: str = "-"
    #: What there is at once: an answer from the cache, or what another flow of the query asks.
    answer: Answer | None = None
    stop: Stop | None = None


_BODY = {
    "type": "object",
    "properties": {
        "question": {"type": ["string", "null"]},
        "chatId": {"type": ["string", "null"], "description": "Names the conversation; made up where it is left out."},
        "streaming": {"type": ["boolean", "null"]},
        "overrideConfig": {"type": ["object", "null"]},
        "history": {"type": ["array", "null"], "items": {"type": "object"}},
        "uploads": {"type": ["array", "null"], "items": {"type": "object"}},
        "form": {"type": ["object", "null"]},
        "humanInput": {"type": ["object", "null"]},
    },
}


@router.post(
    "/prediction/{name}",
    summary="Ask a flow, as Flowise is asked",
    responses={200: {"content": {"application/json": {}, "text/event-stream": {}}}},
    openapi_extra={
        "requestBody": {"content": {media: {"schema": _BODY} for media in ("application/json", "multipart/form-data")}}
    },
)
async def predict(request: Request, name: Name) -> Response:
    """Answer as Flowise does; with its frames where `streaming` is true, and then every refusal is one of them."""
    guest: Guest | None = None
    denied: FlywheelError | None = None
    try:
        guest = guest_of(request, name)
        count_visit(request, guest)
    except FlywheelError as error:
        denied = error
    streamed = "text/event-stream" in (request.headers.get("accept") or "")
    try:
        if guest is None or denied is not None:
            assert denied is not None
            # Whoever is denied is told so in the way that was asked for, where that takes no long reading.
            streamed = streamed or await _asks_for_stream(request)
            raise denied
        async with _received(request, guest) as (given, files):
            streamed = is_streamed(given)
            exchange = await _begin(guest, read_prediction(given), files)
            names_query(request.scope, exchange.chat.query_id)
    except FlywheelError as error:
        return refused(error, streamed=streamed, discreet=not is_member(request))
    if streamed:
        return event_stream(_frames(exchange), exchange.guest.caller, exchange.chat.query_id, every=_BEAT)
    return await _plain(request, exchange)


@asynccontextmanager
async def _received(request: Request, guest: Guest) -> AsyncIterator[tuple[Any, Sequence[Upload]]]:
    """Yield a body and the files in it. Raises InvalidQuery, RequestTooLarge."""
    if _is_form(request):
        if not guest.uploads:
            raise InvalidQuery("body", "a form with files is taken with a token only")
        async with received_form(request, guest.caller.gateway.settings) as form:
            yield fields_of_form(form.fields), await form.uploads()
        return
    body = await received(request, MOST_BODY if guest.uploads else MOST_WORDS)
    yield await beside_loop(partial(read_json, most=MOST_WORDS, content=_CONTENT), body), ()


async def _asks_for_stream(request: Request) -> bool:
    """Return whether the body of whoever is denied asks for a stream; no for a long one, which is not read."""
    if _is_form(request):
        return False
    try:
        return is_streamed(read_json(await received(request, SMALL_BODY)))
    except (InvalidQuery, RequestTooLarge):
        return False


def _is_form(request: Request) -> bool:
    return (request.headers.get("content-type") or "").lower().startswith("multipart/form-data")


async def _begin(guest: Guest, prediction: Prediction, files: Sequence[Upload]) -> AskedChat:
    """Ask, or decide what was asked before. Raises what ``AsyncProducer.submit`` and ``resume`` raise."""
    guest = guest.in_chat(prediction.chat, prediction.session)
    if prediction.human is not None:
        return await _decide(guest, prediction, prediction.human)
    if prediction.uploads and not guest.uploads:
        raise InvalidQuery("uploads", "files are taken with a token only")
    fields = await asyncio.to_thread(prediction.query_fields) if prediction.uploads else prediction.query_fields()
    if files:
        fields["uploads"] = (*fields.get("uploads", ()), *files)
    question = fields.pop("question", None) or ""
    flow = guest.flow.key if guest.flow else None
    submission = await guest.producer.submit(question, flow=flow, **fields)
    asked = None if prediction.form else question
    chat = ClientChat(prediction.chat, prediction.session, submission.query_id, asked)
    return AskedChat(guest, chat, answer=submission.answer)


async def _decide(guest: Guest, prediction: Prediction, human: GivenDecision) -> AskedChat:
    """Have the query of a chat go on that waits for a person."""
    asking = [each for each in await open_queries(guest, prediction.session) if each.stops or each.last_stop]
    if not asking:
        raise InvalidQuery("humanInput", "no flow waits for a decision in this chat")
    record = next((each for each in asking if each.stops), asking[0])
    number = _stop_meant(record, guest.flow, human.start_node) if record.stops else None
    told = await read_events(guest.producer.batch, record.query_id)
    after = next((event.id for event in reversed(told) if event.kind is EventKind.INPUT_REQUIRED), "-")
    await guest.producer.resume(record.query_id, human.type, feedback=human.feedback or None, stop=number)
    left = (await guest.producer.status(record.query_id)).stops
    chat = ClientChat(prediction.chat, prediction.session, record.query_id, prediction.question)
    return AskedChat(guest, chat, after, stop=left[0] if left else None)


def _stop_meant(record: Record, flow: Flow | None, node: str | None) -> int:
    """Return the number of the open stop that a client names. Raises InvalidQuery.

    A decision that is sent again must not be taken for one at a later stop, of which nobody was told.
    """
    asking = [stop for stop in record.stops if flow is None or stop.flow == flow.key]
    if not asking:
        raise InvalidQuery("humanInput", "another flow waits for a decision in this chat")
    found = next((stop for stop in asking if (node or stop.node or "") == node_of_stop(stop)), None)
    if found is None:
        asked = ", ".join(repr(node_of_stop(stop)) for stop in asking)
        raise InvalidQuery("humanInput.startNodeId", f"nothing was decided: the chat asks at {asked} now")
    return found.number


async def _frames(exchange: AskedChat) -> AsyncGenerator[bytes]:
    """Yield the frames of a query, to its end or until it asks a person."""
    guest, chat = exchange.guest, exchange.chat
    telling = FrameTeller(chat, discreet=guest.visitor)
    try:
        if exchange.answer is not None:
            yield telling.answered(exchange.answer)
            return
        if exchange.stop is not None:
            yield telling.asks(exchange.stop)
            return
        async for event in _with_looks(guest.producer.stream(chat.query_id, after=exchange.after)):
            frames = telling.waits() if event is None else telling.told(event)
            if frames:
                yield frames
            if event is not None and event.kind in _ENDS:
                record = await guest.producer.status(chat.query_id)
                if last := _last(telling, record, discreet=guest.visitor):
                    yield last
                    return
    except FlywheelError as error:
        yield telling.failed(said_of(outward(error, chat.query_id), discreet=guest.visitor))


def _last(telling: FrameTeller, record: Record, *, discreet: bool) -> bytes:
    """Return the frames with which a stream ends; none where the query was decided meanwhile and goes on."""
    if record.answer is not None:
        return telling.answered(record.answer)
    if record.state.terminal:
        return telling.failed(said_of(_error_of(record), discreet=discreet))
    return telling.asks(record.stops[0]) if record.stops else b""


def _error_of(record: Record) -> ErrorInfo:
    return outward(record.error or QueryLost(record.query_id), record.query_id)


async def _with_looks(events: AsyncGenerator[Event]) -> AsyncGenerator[Event | None]:
    """Yield events until one after which a stream ends, and None each ``PATIENCE`` seconds."""
    loop = asyncio.get_running_loop()
    coming: asyncio.Task[Event] | None = None
    look = loop.time() + PATIENCE
    try:
        while True:
            coming = coming or asyncio.create_task(_next(events))
            if not (await asyncio.wait([coming], timeout=max(0.0, look - loop.time())))[0]:
                look = loop.time() + PATIENCE
                yield None
                continue
            done, coming = coming, None
            with suppress(StopAsyncIteration):
                yield done.result()
                continue
            return
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
        await events.aclose()


async def _next(events: AsyncGenerator[Event]) -> Event:
    return await anext(events)


async def _plain(request: Request, exchange: AskedChat) -> Response:
    """Wait for a query, and return its answer or what it asks; nothing where the client goes away meanwhile."""
    guest, chat = exchange.guest, exchange.chat
    if exchange.stop is not None:
        return JSONResponse(plain_question(chat, exchange.stop))
    answer = exchange.answer
    if answer is None:
        try:
            answer = await until_gone(request, guest.producer.wait(chat.query_id))
        except InputRequired:
            record = await guest.producer.status(chat.query_id)
            return JSONResponse(plain_question(chat, record.stops[0]))
        except FlywheelError as error:
            return refused(outward(error, chat.query_id), streamed=False, discreet=guest.visitor)
        if answer is None:
            return GONE
    streams = guest.flow is None or guest.flow.streaming
    body = json.dumps(plain_answer(chat, answer, streams=streams), ensure_ascii=False).encode("utf-8", "replace")
    return Response(body, media_type="application/json")
