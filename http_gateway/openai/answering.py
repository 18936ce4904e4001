"""Ask a query for a chat completion, and answer with the whole of it or with a stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from agentic_flywheel.broker.sessions import recent_turns
from agentic_flywheel.errors import (
    BrokerUnavailable,
    FlywheelError,
    IdempotencyConflict,
    InputRequired,
    SideCallRefused,
)
from agentic_flywheel.models import Answer, EventKind
from http_gateway.callers import GatewayCaller
from http_gateway.openai.failures import cut, refusal
from http_gateway.openai.model_list import Aim, aim_of
from http_gateway.openai.repetitions import Sending
from http_gateway.openai.requests import ChatRequest
from http_gateway.openai.shapes import Shape, text_for_person, text_of
from http_gateway.openai.streamed_text import StreamedText
from http_gateway.problems import status_of
from http_gateway.streams import event_stream
from http_gateway.under_way import GONE, until_gone
from mcp_bridge.discretion import outward
from producer import AsyncProducer, Submission

#: Seconds of silence in a stream after which a comment is sent.
KEEP_ALIVE = 10.0
#: Sent at once, so that a client, and a proxy between, sees that its request has been taken.
QUEUED = b": queued\n\n"


async def submitted(caller: GatewayCaller, asked: ChatRequest, session: str | None, sending: Sending) -> Submission:
    """Put the question of a completion into the queue. Raises what ``submit`` raises, UnknownModel, SideCallRefused."""
    producer, told = caller.producer, asked.conversation
    aim = _aim_of(asked, producer)
    if asked.side_call_of or not told.history:
        session = await _session_of_first(producer, session, side_call=bool(asked.side_call_of))
    try:
        return await producer.submit(
            told.question,
            idempotency_key=sending.key,
            flow=aim.flow,
            domain=aim.domain,
            session_id=session,
            history=told.history,
            context=told.context,
            uploads=told.uploads,
        )
    except IdempotencyConflict as same:
        if not sending.counted:
            raise
        # The body is the same. What differs is what was made of it: its session has turns by now, or the registry
        # names another flow.
        record = await producer.status(same.query_id)
        return Submission(query_id=same.query_id, trace_id="", session_id=session, answer=record.answer)


def _aim_of(asked: ChatRequest, producer: AsyncProducer) -> Aim:
    aim = aim_of(asked.model, producer.catalog)
    if not asked.side_call_of:
        return aim
    flow = producer.catalog.policy.side_calls
    if flow is None:
        raise SideCallRefused(asked.side_call_of)
    return Aim(flow=flow)


async def _session_of_first(producer: AsyncProducer, session: str | None, *, side_call: bool) -> str | None:
    """Return the session of what has no history: none for a side call, nor where the session has turns already.

    Then somebody has edited the first message, or wants another answer to it: what was said in the session is not
    before it any more, and without history a flow would be told that.
    """
    if session is None or side_call:
        return None
    return None if await recent_turns(producer.batch, session, 1, asker=producer.asker) else session


async def whole(request: Request, caller: GatewayCaller, asked: ChatRequest, submission: Submission) -> Response:
    """Wait for the answer and return it as one completion, or the error with which its query ended.

    Raises BrokerUnavailable: then the query may still be answered, and the request be sent again.
    """
    shape = Shape(submission.query_id, asked.model)
    try:
        found = await until_gone(request, _outcome(caller.producer, submission))
    except BrokerUnavailable:
        raise
    except FlywheelError as failure:
        info = outward(failure, submission.query_id)
        return refusal(info, status_of(info), _named(submission))
    if found is None:
        return GONE
    if isinstance(found, InputRequired):
        return JSONResponse(shape.completion(f"{found.asked}\n\n{text_for_person(found)}"), headers=_named(submission))
    return JSONResponse(shape.completion(text_of(found), found), headers=_named(submission))


def streamed(caller: GatewayCaller, asked: ChatRequest, submission: Submission) -> Response:
    """Return the response that streams the answer; from now on what goes wrong is told in the stream."""
    frames = _frames(caller.producer, asked, submission)
    return event_stream(frames, caller, submission.query_id, every=KEEP_ALIVE, headers=_named(submission))


async def _frames(producer: AsyncProducer, asked: ChatRequest, submission: Submission) -> AsyncGenerator[bytes, None]:
    shape, spoken = Shape(submission.query_id, asked.model, include_usage=asked.include_usage), StreamedText()
    yield QUEUED
    yield shape.opening()
    try:
        if submission.answer is None:
            async with aclosing(_words(producer, submission.query_id, spoken)) as words:
                async for text in words:
                    yield shape.text(text)
        found = await _outcome(producer, submission)
    except FlywheelError as failure:
        yield cut(outward(failure, submission.query_id))
        return
    if isinstance(found, InputRequired):
        rest, answer = f"{spoken.finish(found.asked)}\n\n{text_for_person(found)}", None
    else:
        rest, answer = spoken.finish(text_of(found)), found
    if rest:
        yield shape.text(rest)
    for each in shape.closing(spoken.told, answer):
        yield each


async def _words(producer: AsyncProducer, query_id: str, spoken: StreamedText) -> AsyncGenerator[str, None]:
    """Yield what is to be told while a query runs, until it ends or asks a person."""
    async with aclosing(producer.stream(query_id)) as events:
        async for event in events:
            match event.kind:
                # What several flows say for their parts comes mixed; the end tells what is made of it.
                case EventKind.TOKEN if "part" not in event.data:
                    if text := spoken.hear(str(event.data.get("text", ""))):
                        yield text
                case EventKind.RETRYING | EventKind.STARTED if event.voids:
                    spoken.begin_again()
                case EventKind.INPUT_REQUIRED:
                    if (await producer.status(query_id)).stops:
                        return
                    spoken.begin_again()
                case EventKind.FINAL:
                    return


async def _outcome(producer: AsyncProducer, submission: Submission) -> Answer | InputRequired:
    """Return a query's answer, or what its flow asks a person. Raises the error with which the query ended."""
    if submission.answer is not None:
        return submission.answer
    try:
        return await producer.wait(submission.query_id)
    except InputRequired as stop:
        return stop


def _named(submission: Submission) -> dict[str, str]:
    """Return the header in which OpenAI's clients look for the name of a request."""
    return {"x-request-id": submission.query_id}
