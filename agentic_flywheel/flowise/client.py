"""Talk to Flowise: one method per call, every wait bounded, every failure named."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Self

import aiohttp
from pydantic import SecretStr
from yarl import URL

from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowProtocolError, FlowTimeout
from agentic_flywheel.flowise.answer import refuse_empty, stored_answer
from agentic_flywheel.flowise.connection import (
    ANY_FLOW,
    SHORT_TIMEOUT,
    Connection,
    ExpectedForm,
    address,
    api_address,
)
from agentic_flywheel.flowise.failure import clean
from agentic_flywheel.flowise.listing import read_chatflow, read_chatflows, read_feedback
from agentic_flywheel.flowise.models import Chatflow, Feedback, FlowAnswer, FlowCall, Rating
from agentic_flywheel.flowise.reading import Reading
from agentic_flywheel.flowise.request import encoded

#: Seconds for which a flow's ability to stream is remembered.
STREAMING_TTL = 300.0


class FlowiseClient:
    """Calls flows of one Flowise server, or of the ``server`` that a flow names. Use it as an async context manager."""

    def __init__(self, base_url: str, *, session: aiohttp.ClientSession | None = None) -> None:
        """Take the server's address, with or without ``/api/v1``. A given ``session`` stays the caller's to close.

        Raises InvalidSetting where the address is none.
        """
        self._base = api_address(base_url)
        self._connection = Connection(session)
        self._streaming: dict[URL, tuple[float, asyncio.Task[bool]]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close what this client opened."""
        probes = [task for _, task in self._streaming.values()]
        self._streaming.clear()
        for task in probes:
            task.cancel()
        await asyncio.gather(*probes, return_exceptions=True)
        await self._connection.close()

    # Asking

    async def predict(
        self,
        call: FlowCall,
        *,
        api_key: SecretStr | None = None,
        on_token: Callable[[str], None] | None = None,
        timeout: float | None = None,
        deadline: float | None = None,
    ) -> FlowAnswer:
        """Ask the flow once and return its answer.

        ``timeout``: seconds of silence after which the call is cut, the flow's own by default; heartbeats are silence.
        ``deadline``: seconds after which it is cut in any case. Raises a FlowError; after FlowTimeout or
        FlowiseUnreachable the flow may still run: look with ``find_answer`` before asking again.
        """
        flow = call.flow
        body = encoded(call)
        silence = flow.timeout.total_seconds() if timeout is None else timeout
        reading = Reading(flow, silence, deadline)
        read = partial(reading.read, on_token=on_token, api_key=api_key)
        try:
            async with asyncio.timeout_at(reading.cut) as reading.limit:
                answer = await self._connection.exchange(
                    "POST", self._url(flow, "prediction"), flow, api_key, body, read
                )
        except TimeoutError:
            raise FlowTimeout(flow.key, round(reading.silent_for, 3)) from None
        return refuse_empty(flow.key, answer)

    async def can_stream(self, flow: Flow) -> bool:
        """Return whether the flow streams; remembered for some minutes, asked once however many wait.

        Raises FlowNotFound: a streaming request for an unknown flow never answers, so ask this first.
        """
        url = self._url(flow, "chatflows-streaming")
        now = asyncio.get_running_loop().time()
        expires, task = self._streaming.get(url, (0.0, None))
        if task is None or now >= expires:
            task = asyncio.create_task(self._probe(url, flow))
            task.add_done_callback(partial(self._forget_failure, url))
            self._streaming[url] = (now + STREAMING_TTL, task)
        if task.done():
            return task.result()
        # One caller's cancellation must not cost the others their answer.
        return await asyncio.shield(task)

    async def find_answer(
        self, flow: Flow, chat_id: str, *, api_key: SecretStr | None = None, timeout: float = SHORT_TIMEOUT
    ) -> FlowAnswer | None:
        """Return the answer that an earlier call got after its caller had given up; None where there is none (yet)."""
        url = self._url(flow, "chatmessage").with_query(chatId=chat_id, order="ASC")
        messages = await self._connection.fetch_json("GET", url, flow, api_key, timeout=timeout)
        with ExpectedForm(flow.key):
            return stored_answer(messages, chat_id)

    async def abort(self, flow: Flow, chat_id: str) -> None:
        """Ask Flowise to stop a run. It says yes in any case and often goes on: rely on nothing."""
        await self._connection.fetch_json("PUT", self._url(flow, "chatmessage/abort", chat_id), flow)

    async def forget(self, flow: Flow, chat_id: str | None = None, *, api_key: SecretStr | None = None) -> int:
        """Delete a chat's messages in Flowise, or all of the flow's; return how many."""
        url = self._url(flow, "chatmessage")
        found = await self._connection.fetch_json(
            "DELETE", url.with_query(chatId=chat_id) if chat_id else url, flow, api_key
        )
        with ExpectedForm(flow.key):
            return int(found["affected"])

    # The server

    async def ping(self) -> timedelta:
        """Return how long the server took to say ``pong``."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        body = await self._connection.fetch("GET", self._base / "ping")
        if body.strip() != b"pong":
            raise FlowProtocolError(ANY_FLOW, f"no pong but {clean(body[:600].decode(errors='replace'))}")
        return timedelta(seconds=loop.time() - started)

    async def version(self) -> str:
        """Return the server's version, such as ``3.1.4``."""
        found = await self._connection.fetch_json("GET", self._base / "version")
        with ExpectedForm(ANY_FLOW):
            return str(found["version"])

    async def chatflows(self, *, api_key: SecretStr | None = None) -> tuple[Chatflow, ...]:
        """Return all flows that the key may see."""
        found = await self._connection.fetch_json("GET", self._base / "chatflows", None, api_key)
        with ExpectedForm(ANY_FLOW):
            return read_chatflows(found)

    async def chatflows_of_key(self, api_key: SecretStr) -> tuple[Chatflow, ...]:
        """Return the flows that are bound to this very key."""
        path = self._base / "chatflows" / "apikey" / api_key.get_secret_value()
        found = await self._connection.fetch_json("GET", path.with_query(keyonly="true"))
        with ExpectedForm(ANY_FLOW):
            return read_chatflows(found)

    async def chatflow(self, flow: Flow, *, api_key: SecretStr | None = None) -> Chatflow:
        """Return what Flowise knows of one flow. Raises FlowNotFound."""
        found = await self._connection.fetch_json("GET", self._url(flow, "chatflows"), flow, api_key)
        with ExpectedForm(flow.key):
            return read_chatflow(found)

    # Feedback

    async def feedback(
        self,
        flow: Flow,
        *,
        chat_id: str,
        message_id: str,
        rating: Rating,
        content: str = "",
        api_key: SecretStr | None = None,
    ) -> Feedback:
        """Leave a verdict on one answer, where Flowise's own users see it too."""
        told = {"chatflowid": flow.id, "chatId": chat_id, "messageId": message_id, "rating": rating}
        if content:
            told["content"] = content
        # Without a key only the flow's own address takes it.
        url = self._base_of(flow) / "feedback" if api_key else self._url(flow, "feedback")
        found = await self._connection.fetch_json("POST", url, flow, api_key, body=told)
        with ExpectedForm(flow.key):
            return read_feedback(found)

    async def feedbacks(self, flow: Flow, *, api_key: SecretStr | None = None) -> tuple[Feedback, ...]:
        """Return every verdict on the flow's answers."""
        found = await self._connection.fetch_json("GET", self._url(flow, "feedback"), flow, api_key)
        with ExpectedForm(flow.key):
            return tuple(read_feedback(each) for each in found)

    async def revise_feedback(
        self, flow: Flow, feedback_id: str, *, rating: Rating, content: str = "", api_key: SecretStr | None = None
    ) -> None:
        """Change an earlier verdict."""
        url = self._base_of(flow) / "feedback" / feedback_id
        await self._connection.fetch_json("PUT", url, flow, api_key, body={"rating": rating, "content": content})

    async def _probe(self, url: URL, flow: Flow) -> bool:
        found = await self._connection.fetch_json("GET", url, flow)
        return isinstance(found, dict) and found.get("isStreaming") is True

    def _forget_failure(self, url: URL, task: asyncio.Task[bool]) -> None:
        if task.cancelled() or task.exception() is not None:
            self._streaming.pop(url, None)

    def _base_of(self, flow: Flow) -> URL:
        return self._base if flow.server is None else api_address(flow.server)

    def _url(self, flow: Flow, call: str, *more: str) -> URL:
        return address(self._base_of(flow), call, flow.id, *more)
