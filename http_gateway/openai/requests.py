"""The body of a chat completion, read and checked."""

from __future__ import annotations

import re
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError

from agentic_flywheel.errors import ContextTooLong, InvalidQuery, RequestTooLarge
from agentic_flywheel.given import Identifier, fault_of
from http_gateway.json_body import QUESTION_BODY, read_json
from http_gateway.openai.messages import MOST_MESSAGES, ChatMessage, Conversation, conversation_of
from http_gateway.openai.parameters import check_parameters
from http_gateway.openai.side_calls import program_of

#: In the name of a fault behind the number of a part, what kind of part it was read as: the client sent no such field.
_KIND_OF_PART = re.compile(r"(?<=\d)\.(?:text|refusal|image_url)(?=\.)")
#: The model that stands for the flow that fits best.
AUTO = "auto"


class StreamOptions(BaseModel):
    """What a stream should have beside its text. Other options are not read."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    include_usage: StrictBool | None = None


class ChatBody(BaseModel):
    """The parameters that are used; docs/http.md lists the others, which are hints or refused."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: Annotated[str, Field(min_length=1, max_length=128)]
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MOST_MESSAGES)]
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    user: Identifier | None = None


class ChatRequest(NamedTuple):
    """What a client asks for."""

    model: str
    conversation: Conversation
    stream: bool
    include_usage: bool
    user: str | None
    #: The program that sends such a call beside its conversations; empty: this is a question.
    side_call_of: str


def read_request(raw: bytes) -> ChatRequest:
    """Return the request of a body. Raises InvalidQuery, RequestTooLarge, UnsupportedParameter,
    ContextTooLong."""
    try:
        given = read_json(raw, most=QUESTION_BODY)
    except RequestTooLarge as large:
        # Chat programs know this one, and send less.
        raise ContextTooLong("The conversation", large.size or len(raw), large.most, "bytes") from None
    if not isinstance(given, dict):
        raise InvalidQuery("body", "it should be a JSON object")
    body = _body_of(given)
    stream = bool(body.stream)
    return ChatRequest(
        model=body.model,
        conversation=conversation_of(body.messages),
        stream=stream,
        include_usage=stream and body.stream_options is not None and bool(body.stream_options.include_usage),
        user=body.user,
        side_call_of=program_of(body.messages, stream=stream),
    )


def _body_of(given: dict[str, Any]) -> ChatBody:
    check_parameters(given)
    try:
        return ChatBody.model_validate(given)
    except ValidationError as refused:
        name, reason = fault_of(refused)
        raise InvalidQuery(_KIND_OF_PART.sub("", name), reason) from None
