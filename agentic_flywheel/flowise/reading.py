"""Read one call's answer against the clock: when it is cut, and what was measured."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import timedelta

import aiohttp
from pydantic import SecretStr

from agentic_flywheel.catalog import Flow
from agentic_flywheel.flowise.answer import StreamedAnswer, plain_answer
from agentic_flywheel.flowise.connection import ExpectedForm, read_answer, secret_of
from agentic_flywheel.flowise.failure import failure_of_message
from agentic_flywheel.flowise.frames import FrameParser
from agentic_flywheel.flowise.models import FlowAnswer

#: Seconds that a settled stream may take to close, so that its connection can be used again.
DRAIN_TIMEOUT = 0.2


class Reading:
    """The clock of one call: when it is cut, and what it measured."""

    def __init__(self, flow: Flow, silence: float, deadline: float | None) -> None:
        self._flow, self._silence = flow, silence
        self._now = asyncio.get_running_loop().time
        self._started = self._heard = self._now()
        self._last = self._started + deadline if deadline is not None else float("inf")
        self._first_token: float | None = None
        self._settled: float | None = None
        self.limit: asyncio.Timeout

    @property
    def cut(self) -> float:
        """The moment of the loop's clock at which the call is cut."""
        return min(self._heard + self._silence, self._last)

    @property
    def silent_for(self) -> float:
        return self._now() - self._heard

    async def read(
        self, response: aiohttp.ClientResponse, on_token: Callable[[str], None] | None, api_key: SecretStr | None
    ) -> FlowAnswer:
        """Read an answer, plain or streamed. Raises a FlowError."""
        if response.status == 200 and response.content_type == "text/event-stream":
            return await self._stream(response, on_token, api_key)
        body = await read_answer(response, self._flow, api_key)
        with ExpectedForm(self._flow.key):
            return plain_answer(self._flow.key, body, elapsed=timedelta(seconds=self._now() - self._started))

    async def _stream(
        self, response: aiohttp.ClientResponse, on_token: Callable[[str], None] | None, api_key: SecretStr | None
    ) -> FlowAnswer:
        flow = self._flow
        parser, collected = FrameParser(flow.key), StreamedAnswer(flow.key)
        async for chunk in response.content.iter_any():
            events = parser.feed(chunk)
            for event in events:
                text = collected.add(event)
                if not text:
                    continue
                if self._first_token is None:
                    self._first_token = self._now()
                if on_token is not None:
                    on_token(text)
            if collected.settled:
                self._settled = self._now()
                self.limit.reschedule(None)  # the answer is there: only its connection is at stake
                await _drain(response)
                break
            if events:
                self._heard = self._now()
                self.limit.reschedule(self.cut)
        if collected.failure is not None:
            raise failure_of_message(flow.key, flow.id, collected.failure, secret=secret_of(api_key))
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
