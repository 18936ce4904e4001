"""Read one response against the clock: whole, or as a stream."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import aiohttp

from agentic_flywheel.backends.clock import CallClock
from agentic_flywheel.backends.connection import Failed, read_body
from agentic_flywheel.backends.decoded_frames import FrameDecoder
from agentic_flywheel.backends.decoding import decode_json
from agentic_flywheel.backends.http.answer import answer_of, document_of, has_answer
from agentic_flywheel.backends.http.failure import failure_of
from agentic_flywheel.backends.http.pointers import NOTHING, at
from agentic_flywheel.backends.http.streamed import CollectedStream
from agentic_flywheel.backends.models import FlowAnswer, FlowNews
from agentic_flywheel.backends.reasons import clean
from agentic_flywheel.backends.statuses import failure_of_reason, reason_from
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import AnswerTooLong, FlowError, FlowProtocolError, ServerUnreachable
from agentic_flywheel.http_flows import AnswerPlace, StreamRule
from agentic_flywheel.models import EventKind


class ResponseReading:
    """Reads the answer of one call where the registry says that it stands."""

    def __init__(self, flow: Flow, place: AnswerPlace, clock: CallClock, secrets: Collection[str]) -> None:
        """``secrets``: what no error may quote."""
        self._flow, self._place, self._clock, self._secrets = flow, place, clock, secrets

    async def read(self, response: aiohttp.ClientResponse, on_news: Callable[[FlowNews], None] | None) -> FlowAnswer:
        """Read an answer. Raises a FlowError."""
        self._clock.heard()
        good = is_answer(response.status, self._place)
        if good and self._place.stream is not None:
            answer = await self._stream(response, self._place.stream, on_news)
        else:
            body = await read_body(response, self._flow.key, self._clock.heard)
            if not good:
                failed = Failed(response.status, response.content_type, response.headers, body)
                raise failure_of(self._flow, failed, self._secrets, place=self._place)
            answer = self._answer(document_of(self._flow.key, self._place, body, self._secrets, response.content_type))
        return answer.model_copy(update={"elapsed": self._clock.elapsed, "first_token": self._clock.first_token})

    def _answer(self, document: Any) -> FlowAnswer:
        failed = NOTHING if self._place.error is None else at(document, self._place.error)
        if failed is not NOTHING and failed:
            raise self._failure(reason_from(failed))
        told = document if self._place.format == "text" else None
        return answer_of(self._flow.key, self._place, document, told=told)

    def _failure(self, reason: str) -> FlowError:
        return failure_of_reason(self._flow.key, clean(reason, secrets=self._secrets) or "no reason given")

    async def _stream(
        self, response: aiohttp.ClientResponse, rule: StreamRule, on_news: Callable[[FlowNews], None] | None
    ) -> FlowAnswer:
        collected, opening = CollectedStream(self._flow, self._place, rule), bytearray()
        try:
            await self._collect(response, collected, opening, on_news)
            if collected.failure is not None:
                raise self._failure(collected.failure)
            return collected.answer()
        except (FlowProtocolError, ServerUnreachable) as failed:
            if collected.begun or isinstance(failed, AnswerTooLong):
                raise
            body = await read_body(response, self._flow.key, self._clock.heard, begun=bytes(opening))
            if (answer := self._unstreamed(body)) is None:
                raise
            return answer

    async def _collect(
        self,
        response: aiohttp.ClientResponse,
        collected: CollectedStream,
        opening: bytearray,
        on_news: Callable[[FlowNews], None] | None,
    ) -> None:
        """Collect a stream's frames. ``opening`` gets what came before the first one that the rule means."""
        frames = FrameDecoder(self._flow.key)
        async for chunk in response.content.iter_any():
            if not collected.begun:
                opening += chunk
            for frame in frames.feed(chunk):
                self._tell(collected.add(frame), on_news)
                if collected.settled:
                    await self._clock.settle(response)
                    return
            self._clock.heard()
        for frame in frames.close():
            self._tell(collected.add(frame), on_news)

    def _unstreamed(self, body: bytes) -> FlowAnswer | None:
        """Return the answer of a server that was asked for a stream and sent one document; None where it is none."""
        try:
            document = decode_json(body)
        except ValueError:
            return None
        failed = NOTHING if self._place.error is None else at(document, self._place.error)
        told = (failed is not NOTHING and failed) or has_answer(self._place, document)
        return self._answer(document) if told else None

    def _tell(self, told: Collection[FlowNews], on_news: Callable[[FlowNews], None] | None) -> None:
        for news in told:
            if news.kind is EventKind.TOKEN:
                self._clock.token()
            if on_news is not None:
                on_news(news)


def is_answer(status: int, place: AnswerPlace | None) -> bool:
    """Return whether a response of this status holds an answer."""
    meaning = place.statuses.get(status) if place else None
    return meaning == "answer" or (meaning is None and 200 <= status < 300)
