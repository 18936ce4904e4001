"""Read one call's answer against the clock."""

from __future__ import annotations

from collections.abc import Callable, Collection

import aiohttp

from agentic_flywheel.backends.clock import CallClock
from agentic_flywheel.backends.connection import Connection, ExpectedForm
from agentic_flywheel.backends.flowise.answer import plain_answer
from agentic_flywheel.backends.flowise.failure import failure_of_message
from agentic_flywheel.backends.flowise.frames import FrameParser
from agentic_flywheel.backends.flowise.streamed import StreamedAnswer
from agentic_flywheel.backends.models import FlowAnswer, FlowCall, FlowNews
from agentic_flywheel.models import EventKind


class AnswerReading:
    """Reads the answer of one call, plain or streamed."""

    def __init__(self, call: FlowCall, connection: Connection, clock: CallClock) -> None:
        self._flow, self._chat_id = call.flow, call.chat_id
        decided = call.human_input
        #: The node whose question a person has answered with no.
        self._rejected = decided.start_node_id if decided is not None and decided.type == "reject" else None
        self._connection, self._clock = connection, clock

    async def read(
        self, response: aiohttp.ClientResponse, on_news: Callable[[FlowNews], None] | None, secrets: Collection[str]
    ) -> FlowAnswer:
        """Read an answer. Raises a FlowError, which quotes none of the secrets."""
        if not response.content.is_eof():  # a short answer comes whole: nothing is waited for any more
            self._clock.heard()
        if response.status == 200 and response.content_type == "text/event-stream":
            return await self._stream(response, on_news, secrets)
        body = await self._connection.read_answer(response, self._flow, secrets, heard=self._clock.heard)
        with ExpectedForm(self._flow.key):
            return plain_answer(self._flow, body, elapsed=self._clock.elapsed, secrets=secrets)

    async def _stream(
        self, response: aiohttp.ClientResponse, on_news: Callable[[FlowNews], None] | None, secrets: Collection[str]
    ) -> FlowAnswer:
        flow, clock = self._flow, self._clock
        parser, collected = FrameParser(flow.key), StreamedAnswer(flow, self._chat_id, rejected=self._rejected)
        async for chunk in response.content.iter_any():
            events = parser.feed(chunk)
            with ExpectedForm(flow.key):
                told = [news for event in events for news in collected.add(event)]
            for news in told:
                if news.kind is EventKind.TOKEN:
                    clock.token()
                if on_news is not None:
                    on_news(news)
            if collected.settled:
                await clock.settle(response)
                break
            clock.heard()
        if collected.failure is not None:
            raise failure_of_message(flow.key, flow.id, collected.failure, secrets=secrets)
        with ExpectedForm(flow.key):
            answer = collected.answer()
        return answer.model_copy(update={"elapsed": clock.elapsed, "first_token": clock.first_token})
