"""Read one completion against the clock. What comes is told by its first character, not by its content type."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Sequence

import aiohttp

from agentic_flywheel.backends.clock import CallClock
from agentic_flywheel.backends.connection import Connection, ExpectedForm, read_body
from agentic_flywheel.backends.frames import BOM, FrameReader, LineCutter, StreamFrame
from agentic_flywheel.backends.models import FlowAnswer, FlowCall, FlowNews
from agentic_flywheel.backends.openai.answer import answer_of, plain_completion
from agentic_flywheel.backends.openai.streamed import StreamedCompletion
from agentic_flywheel.backends.pauses import pause_of_answer
from agentic_flywheel.errors import FlowProtocolError
from agentic_flywheel.models import EventKind

#: Seconds that are waited for the tokens of an answer that is there.
LAST_WORDS = 2.0
#: How an answer begins that is not streamed, and what a line of a stream can begin with.
_OBJECT = b"{"
_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")


class CompletionReading:
    """Reads the answer of one call, plain or streamed."""

    def __init__(
        self, call: FlowCall, connection: Connection, clock: CallClock, on_news: Callable[[FlowNews], None] | None
    ) -> None:
        self._call, self._connection, self._clock = call, connection, clock
        self._on_news = on_news if call.stream else None

    async def read(self, response: aiohttp.ClientResponse, secrets: Collection[str]) -> FlowAnswer:
        """Read an answer. Raises a FlowError, which quotes none of the secrets."""
        flow, clock = self._call.flow, self._clock
        clock.heard()
        page = response.content_type == "text/html"
        if not 200 <= response.status < 300 or page:
            body = await self._connection.read_answer(response, flow, secrets, any_type=not page, heard=clock.heard)
            with ExpectedForm(flow.key):
                answer = answer_of(flow, plain_completion(flow, body, secrets))
        else:
            answer = await self._answer(response, secrets)
        return answer.model_copy(
            update={
                "chat_id": self._call.chat_id,
                "elapsed": clock.elapsed,
                "first_token": clock.first_token,
                "pause": pause_of_answer(response.headers),
            }
        )

    async def _answer(self, response: aiohttp.ClientResponse, secrets: Collection[str]) -> FlowAnswer:
        """Read what comes: some servers stream though they were asked not to, others never do."""
        flow, pieces = self._call.flow, response.content.iter_any()
        opening = await self._opening(pieces)
        begins = _begins(opening)
        if begins.startswith(_FIELDS) or (self._call.stream and not begins.startswith(_OBJECT)):
            return await self._stream(response, pieces, opening, secrets)
        body = await read_body(response, flow.key, self._clock.heard, begun=opening)
        with ExpectedForm(flow.key):
            return answer_of(flow, plain_completion(flow, body, secrets))

    async def _stream(
        self,
        response: aiohttp.ClientResponse,
        pieces: AsyncIterator[bytes],
        opening: bytes,
        secrets: Collection[str],
    ) -> FlowAnswer:
        flow, clock = self._call.flow, self._clock
        frames, collected = FrameReader(flow.key), StreamedCompletion(flow, secrets)
        self._take(frames.feed(opening), collected)
        while not (collected.finished or collected.done) and (piece := await anext(pieces, None)) is not None:
            self._take(frames.feed(piece), collected)
            clock.heard()
        if collected.finished:
            clock.stop()
            with contextlib.suppress(TimeoutError, aiohttp.ClientError):
                async with asyncio.timeout(LAST_WORDS):
                    while not collected.done and (piece := await anext(pieces, None)) is not None:
                        self._take(frames.feed(piece), collected)
                    await clock.settle(response)
        try:
            self._take(frames.close(), collected)
        except FlowProtocolError:
            if not collected.finished:  # an answer that is there is not lost for half a frame behind it
                raise
        with ExpectedForm(flow.key):
            told = collected.completion()
            self._tell(collected.usage_news())
            return answer_of(flow, told, reasoned=collected.reasoned)

    async def _opening(self, pieces: AsyncIterator[bytes]) -> bytes:
        """Return what comes first, up to a piece that tells what it is. Raises AnswerTooLong where none comes."""
        bounds, opening = LineCutter(self._call.flow.key), b""
        async for piece in pieces:
            opening += piece
            begins = _begins(opening)
            if begins and not any(field.startswith(begins) for field in (*_FIELDS, BOM)):
                break
            opening = opening if begins else b""
            bounds.feed(piece)
            self._clock.heard()
        return opening

    def _take(self, frames: Sequence[StreamFrame], collected: StreamedCompletion) -> None:
        for frame in frames:
            with ExpectedForm(self._call.flow.key):
                told = collected.add(frame.data)
            self._tell(told)

    def _tell(self, told: Sequence[FlowNews]) -> None:
        for news in told:
            if news.kind is EventKind.TOKEN:
                self._clock.token()
            if self._on_news is not None:
                self._on_news(news)


def _begins(opening: bytes) -> bytes:
    """Return an opening from its first character on."""
    return opening.removeprefix(BOM).lstrip()
