"""Feedback of Flowise's clients: a thumb and a comment become the rating of a query."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from agentic_flywheel.broker.records import load_record
from agentic_flywheel.broker.scores import MAX_COMMENT, RATING, scores_of
from agentic_flywheel.errors import FlywheelError, InvalidQuery, TokenNeeded, UnknownQuery
from agentic_flywheel.given import asker_of
from http_gateway.flowise.guests import VISITORS, expect, guest_of, is_member, member_of
from http_gateway.flowise.names import query_id_of
from http_gateway.flowise.refusals import refused
from http_gateway.json_body import BodyOf
from producer import AsyncProducer

router = APIRouter(prefix="/api/v1", tags=["flowise"])
Rating = Literal["THUMBS_UP", "THUMBS_DOWN"]


class GivenFeedback(BaseModel):
    """What somebody thinks of a message."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    chat_id: str = Field("", alias="chatId", max_length=200)
    message_id: str = Field(alias="messageId", max_length=100)
    rating: Rating
    content: str | None = Field(None, max_length=100_000)


class Revision(BaseModel):
    """What somebody says later."""

    model_config = ConfigDict(extra="ignore")

    rating: Rating | None = None
    content: str | None = Field(None, max_length=100_000)


_FEEDBACK, _REVISION = BodyOf(GivenFeedback), BodyOf(Revision)


@router.post("/feedback/{name}", summary="Rate an answer", openapi_extra=_FEEDBACK.shown)
async def give(request: Request, name: Annotated[str, Path(max_length=200)]) -> Response:
    """Keep a thumb for the query that a message answers. The feedback's id is the message's."""
    try:
        guest = guest_of(request, name)
        given = await _FEEDBACK(request)
        guest = guest.in_chat(given.chat_id)
        query_id = _query_of(given.message_id)
        await guest.producer.score(query_id, given.rating == "THUMBS_UP", comment=_comment(given.content))
    except FlywheelError as error:
        return refused(error, streamed=False, discreet=not is_member(request))
    told = {
        "chatflowid": guest.flow.id if guest.flow else name,
        "chatId": given.chat_id,
        "messageId": given.message_id,
        "rating": given.rating,
        "content": given.content or "",
    }
    return JSONResponse({**told, "id": str(uuid.UUID(query_id)), "createdDate": datetime.now(UTC).isoformat()})


@router.put("/feedback/{feedback_id}", summary="Say more about a rating", openapi_extra=_REVISION.shown)
async def revise(request: Request, feedback_id: Annotated[str, Path(max_length=100)]) -> Response:
    """Add a comment to a thumb, or turn the thumb."""
    try:
        expect(request)
        given = await _REVISION(request)
        query_id = _query_of(feedback_id)
        producer = await _producer_for(request, query_id)
        await producer.status(query_id)
        given_before = (await scores_of(producer.batch, [query_id]))[query_id]
        earlier = next((each for each in given_before if each.name == RATING), None)
        value = given.rating == "THUMBS_UP" if given.rating else earlier.value if earlier else None
        if value is None:
            raise InvalidQuery("rating", "it should be THUMBS_UP or THUMBS_DOWN: nothing was rated before")
        comment = _comment(given.content) if given.content is not None else earlier.comment if earlier else ""
        await producer.score(query_id, value, comment=comment)
    except FlywheelError as error:
        return refused(error, streamed=False, discreet=not is_member(request))
    return JSONResponse({"status": "OK"})


async def _producer_for(request: Request, query_id: str) -> AsyncProducer:
    """Return the producer of whoever revises. The call names no flow and no chat: the query has both."""
    member = member_of(request)
    if member is not None:
        return member.producer
    gateway = request.app.state.gateway
    try:
        record = await load_record(gateway.bridge.producer(gateway.local).batch, query_id)
    except UnknownQuery:
        raise TokenNeeded from None
    if not (record.owner.startswith(VISITORS) and record.query.user):
        raise TokenNeeded
    guest = guest_of(request, record.owner.removeprefix(VISITORS))
    producer: AsyncProducer = gateway.producer(asker_of(record.owner, record.query.user), guest.caller.grant)
    return producer


def _query_of(message_id: str) -> str:
    found = query_id_of(message_id)
    if found is None:
        raise InvalidQuery("messageId", "it should be the `chatMessageId` of an answer")
    return found


def _comment(content: str | None) -> str:
    """Return a comment as it is kept: people write more than that into a box."""
    text = (content or "").strip()
    return text if len(text) <= MAX_COMMENT else f"{text[: MAX_COMMENT - 1]}…"
