"""Read one call's answer against the clock: when it is cut, and what was measured."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection
from datetime import timedelta

import aiohttp

from agentic_flywheel.backends.flowise.answer import plain_answer
from agentic_flywheel.backends.flowise.connection import ExpectedForm, read_answer
from agentic_flywheel.backends.flowise.failure import failure_of_message
from agentic_flywheel.backends.flowise.frames import FrameParser
from agentic_flywheel.backends.flowise.streamed import StreamedAnswer
from agentic_flywheel.backends.models import FlowAnswer, FlowCall, FlowNews
from agentic_flywheel.errors import FlowTimeout
from agentic_flywheel.models import EventKind

#: Seconds that a settled stream may take to close, so that its connection can be used again.
DRAIN_TIMEOUT = 0.2


class AnswerReading:
    """The clock of one call: when it is cut, and what it measured."""

    def __init__(self, call: FlowCall, timeout: float, idle_timeout: float) -> None:
        self._flow, self._chat_id = call.flow, call.chat_id
        self._timeout, self._idle_timeout = timeout, idle_timeout
        self._now = asyncio.get_running_loop().time
        self._started = self._now()
        self._first_token: float | None = None
        self._settled: float | None = None
        self.limit = asyncio.timeout_at(self._started + timeout)

    @property
    def late(self) -> FlowTimeout:
        """The error of a call that was cut now."""
        if self._now() < self._started + self._timeout:
            return FlowTimeout(self._flow.key, self._idle_timeout, silent=True)
        return FlowTimeout(self._flow.key, self._timeout)

    def _heard(self) -> None:
        """Something came. Before it a flow may think for its whole time; from now on it may pause for less."""
        self.limit.reschedule(min(self._started + self._timeout, self._now() + self._idle_timeout))

    async def read(
        self, response: aiohttp.ClientResponse, on_news: Callable[[FlowNews], None] | None, secrets: Collection[str]
    ) -> FlowAnswer:
        """Read an answer, plain or streamed. Raises a FlowError, which quotes none of the secrets."""
        self._heard()
        if response.status == 200 and response.content_type == "text/event-stream":
            return await self._stream(response, on_news, secrets)
        body = await read_answer(response, self._flow, secrets, heard=self._heard)
        with ExpectedForm(self._flow.key):
            return plain_answer(self._flow, body, elapsed=timedelta(seconds=self._now() - self._started))

    async def _stream(
        self, response: aiohttp.ClientResponse, on_news: Callable[[FlowNews], None] | None, secrets: Collection[str]
    ) -> FlowAnswer:
        flow = self._flow
        parser, collected = FrameParser(flow.key), StreamedAnswer(flow, self._chat_id)
        async for chunk in response.content.iter_any():
            events = parser.feed(chunk)
            with ExpectedForm(flow.key):
                told = [news for event in events for news in collected.add(event)]
            for news in told:
                if news.kind is EventKind.TOKEN and self._first_token is None:
                    self._first_token = self._now()
                if on_news is not None:
                    on_news(news)
            if collected.settled:
                self._settled = self._now()
                self.limit.reschedule(None)  # the answer is there: only its connection is at stake
                await _drain(response)
                break
            self._heard()
        if collected.failure is not None:
            raise failure_of_message(flow.key, flow.id, collected.failure, secrets=secrets)
        with ExpectedForm(flow.key):
            answer = collected.answer()
        ended, first = self._settled or self._now(), self._first_token
        return answer.model_copy(
            update={
                "elapsed": timedelta(seconds=ended - self._started),
                "first_token": None if first is None else timedelta(seconds=first - self._started),
            }
        )


async def _drain(response: aiohttp.ClientResponse) -> None:
    with contextlib.suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(DRAIN_TIMEOUT):
            async for _ in response.content.iter_any():
                pass
