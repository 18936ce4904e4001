"""Read one completion against the clock. What comes is told by its first character, not by its content type."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Sequence

import aiohttp

from agentic_flywheel.backends.clock import CallClock
from agentic_flywheel.backends.connection import Connection, ExpectedForm, read_body
from agentic_flywheel.backends.frames import FrameCutter
from agentic_flywheel.backends.models import FlowAnswer, FlowCall, FlowNews
from agentic_flywheel.backends.openai.answer import answer_of, plain_completion
from agentic_flywheel.backends.openai.streamed import StreamedCompletion
from agentic_flywheel.backends.pauses import pause_of_answer
from agentic_flywheel.models import EventKind

#: Seconds that are waited for the tokens of an answer that is there.
LAST_WORDS = 2.0
#: How an answer begins that is not streamed.
_OBJECT = b"{"


class CompletionReading:
    """Reads the answer of one call, plain or streamed."""

    def __init__(
        self, call: FlowCall, connection: Connection, clock: CallClock, on_news: Callable[[FlowNews], None] | None
    ) -> None:
        self._call, self._connection, self._clock, self._on_news = call, connection, clock, on_news

    async def read(self, response: aiohttp.ClientResponse, secrets: Collection[str]) -> FlowAnswer:
        """Read an answer. Raises a FlowError, which quotes none of the secrets."""
        flow, clock = self._call.flow, self._clock
        clock.heard()
        page = response.content_type == "text/html"
        if response.status != 200 or not self._call.stream or page:
            body = await self._connection.read_answer(response, flow, secrets, any_type=not page, heard=clock.heard)
            with ExpectedForm(flow.key):
                answer = answer_of(flow, plain_completion(flow, body, secrets))
        else:
            answer = await self._stream(response, secrets)
        return answer.model_copy(
            update={
                "chat_id": self._call.chat_id,
                "elapsed": clock.elapsed,
                "first_token": clock.first_token,
                "pause": pause_of_answer(response.headers),
            }
        )

    async def _stream(self, response: aiohttp.ClientResponse, secrets: Collection[str]) -> FlowAnswer:
        flow, clock = self._call.flow, self._clock
        pieces = response.content.iter_any()
        opening = await self._opening(pieces)
        if opening.lstrip().startswith(_OBJECT):
            body = await read_body(response, flow.key, clock.heard, begun=opening)
            with ExpectedForm(flow.key):
                return answer_of(flow, plain_completion(flow, body, secrets))
        cutter, collected = FrameCutter(flow.key, b"\n"), StreamedCompletion(flow, secrets)
        self._take(cutter.feed(opening), collected)
        while not (collected.finished or collected.done) and (piece := await anext(pieces, None)) is not None:
            self._take(cutter.feed(piece), collected)
            clock.heard()
        if collected.finished:
            clock.stop()
            with contextlib.suppress(TimeoutError, aiohttp.ClientError):
                async with asyncio.timeout(LAST_WORDS):
                    while not collected.done and (piece := await anext(pieces, None)) is not None:
                        self._take(cutter.feed(piece), collected)
                    await clock.settle(response)
        self._take([cutter.rest], collected)
        with ExpectedForm(flow.key):
            told = collected.completion()
            self._tell(collected.usage_news())
            return answer_of(flow, told, reasoned=collected.reasoned)

    async def _opening(self, pieces: AsyncIterator[bytes]) -> bytes:
        """Return what comes first, from the first character on. Raises AnswerTooLong where none comes."""
        blank = FrameCutter(self._call.flow.key, b"\n")
        async for piece in pieces:
            if piece.strip():
                return piece
            blank.feed(piece)
            self._clock.heard()
        return b""

    def _take(self, lines: Sequence[bytes], collected: StreamedCompletion) -> None:
        for line in lines:
            with ExpectedForm(self._call.flow.key):
                told = collected.add(line)
            self._tell(told)

    def _tell(self, told: Sequence[FlowNews]) -> None:
        for news in told:
            if news.kind is EventKind.TOKEN:
                self._clock.token()
            if self._on_news is not None:
                self._on_news(news)
