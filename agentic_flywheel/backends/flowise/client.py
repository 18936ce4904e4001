"""Talk to Flowise: one method per call, every wait bounded, every failure named."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from types import MappingProxyType
from typing import Self

import aiohttp
from pydantic import SecretStr

from agentic_flywheel.backends.bodies import FlowUpload, StreamedBody
from agentic_flywheel.backends.clock import CallClock
from agentic_flywheel.backends.connection import SHORT_TIMEOUT, Connection, ExpectedForm
from agentic_flywheel.backends.contents import name_of
from agentic_flywheel.backends.decoding import decode_json
from agentic_flywheel.backends.flowise.addresses import api_address, flow_address, server_root
from agentic_flywheel.backends.flowise.answer import refuse_empty, stopped_run, stored_answer
from agentic_flywheel.backends.flowise.chatflows import Chatflows
from agentic_flywheel.backends.flowise.failure import failure_of
from agentic_flywheel.backends.flowise.reading import AnswerReading
from agentic_flywheel.backends.flowise.request import effective_config, encoded
from agentic_flywheel.backends.flowise.verdicts import Verdicts
from agentic_flywheel.backends.flowise.widget import Widget
from agentic_flywheel.backends.models import FlowAnswer, FlowCall, FlowNews
from agentic_flywheel.backends.reasons import clean
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowError, FlowNotFound, FlowProtocolError
from agentic_flywheel.errors.flow import ANY_FLOW

#: Seconds within which Flowise begins a stream, before the flow runs; for a flow that was deleted it never does.
_HEAD_WITHIN = 5.0


class FlowiseClient:
    """Calls flows of one Flowise server, or of the ``server`` that a flow names. Use it as an async context manager.

    ``chatflows`` says what Flowise knows of its flows; ``verdicts`` passes on what people think of answers; ``widget``
    what its chat widget asks beside predictions.
    """

    def __init__(
        self,
        base_url: str,
        *,
        session: aiohttp.ClientSession | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        ca_file: str | None = None,
    ) -> None:
        """Take the server's address, with or without ``/api/v1``. A given ``session`` stays the caller's to close.

        ``headers`` and ``ca_file``: as in ``FlowServer``. Raises InvalidSetting where the address is none.
        """
        self._base = api_address(base_url)
        self._connection = Connection(failure_of, session=session, headers=headers, ca_file=ca_file)
        self.chatflows = Chatflows(self._base, self._connection)
        self.verdicts = Verdicts(self._base, self._connection)
        self.widget = Widget(self._base, self._connection)
        self._looking = set[asyncio.Task[None]]()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close what this client opened, as soon as the calls under way have ended."""
        for looking in self._looking:
            looking.cancel()
        await self._connection.close()

    # Asking

    async def predict(
        self,
        call: FlowCall,
        *,
        api_key: SecretStr | None = None,
        on_news: Callable[[FlowNews], None] | None = None,
        timeout: float | None = None,
        idle_timeout: float | None = None,
    ) -> FlowAnswer:
        """Ask the flow once and return its answer. ``on_news`` is called with what a stream tells meanwhile.

        ``timeout``: seconds after which the call is cut; ``idle_timeout``: seconds of silence after which an answer
        that has begun is cut, heartbeats are none. Both are the flow's own by default. Raises a FlowError; after
        FlowTimeout or ServerUnreachable the flow may still run: look with ``find_answer`` before asking again.
        """
        flow = call.flow
        body = encoded(call)
        clock = CallClock(
            flow.key,
            flow.timeout.total_seconds() if timeout is None else timeout,
            flow.idle_timeout.total_seconds() if idle_timeout is None else idle_timeout,
        )
        secrets = self._connection.secrets(api_key, effective_config(call))
        reading = AnswerReading(call, self._connection, clock)
        read = partial(reading.read, on_news=on_news, secrets=secrets)
        silence = clock.loop.call_later(_HEAD_WITHIN, self._look_after, call, clock)
        try:
            with clock.limit:
                answer = await self._connection.exchange(
                    "POST", flow_address(self._base, flow, "prediction"), flow, api_key, body, read
                )
        except TimeoutError:
            raise clock.late from None
        finally:
            silence.cancel()
        return refuse_empty(flow.key, answer)

    def _look_after(self, call: FlowCall, clock: CallClock) -> None:
        """Look whether the flow of a call is still there, where a stream has not begun."""
        if call.stream and not clock.has_heard:
            looking = asyncio.ensure_future(self._end_without_flow(call.flow, clock))
            self._looking.add(looking)
            looking.add_done_callback(self._looking.discard)

    async def _end_without_flow(self, flow: Flow, clock: CallClock) -> None:
        try:
            await self.chatflows.check(flow)
        except FlowNotFound as gone:
            clock.end(gone)
        except FlowError:
            pass  # the call goes on, and ends by itself

    async def attach(
        self, flow: Flow, chat_id: str, files: StreamedBody, *, api_key: SecretStr | None = None, timeout: float
    ) -> list[FlowUpload]:
        """Give a chat's flow files (``form_of_files``) to read, and return them as uploads: the text of each.

        ``timeout``: seconds. Raises FlowError, FlowFailed where the flow takes no files.
        """
        url = flow_address(self._base, flow, "attachments", chat_id)
        answered = await self._connection.fetch("POST", url, flow, api_key, body=files, timeout=timeout)
        with ExpectedForm(flow.key):
            return [
                FlowUpload("file:full", str(each["name"]), str(each["mimeType"]), str(each["content"]))
                for each in decode_json(answered)
            ]

    async def find_answer(
        self, flow: Flow, chat_id: str, *, api_key: SecretStr | None = None, timeout: float = SHORT_TIMEOUT
    ) -> FlowAnswer | None:
        """Return the answer that an earlier call got after its caller had given up; None where there is none (yet)."""
        url = flow_address(self._base, flow, "chatmessage").with_query(chatId=chat_id, order="ASC")
        messages = await self._connection.fetch_json("GET", url, flow, api_key, timeout=timeout)
        with ExpectedForm(flow.key):
            return stored_answer(flow, messages, chat_id)

    async def abort(self, flow: Flow, chat_id: str) -> None:
        """Ask Flowise to stop a run. It says yes in any case and often goes on: rely on nothing."""
        await self._connection.fetch_json("PUT", flow_address(self._base, flow, "chatmessage/abort", chat_id), flow)

    async def terminate(self, flow: Flow, chat_id: str, *, api_key: SecretStr | None = None) -> bool:
        """End a run that waits for a person, so that nobody can resume it; return whether there was one.

        An abort leaves such a run as it is. ``api_key``: one that may update executions.
        """
        url = flow_address(self._base, flow, "chatmessage").with_query(chatId=chat_id, order="ASC")
        run = stopped_run(await self._connection.fetch_json("GET", url, flow, api_key), chat_id)
        if run is None:
            return False
        url = server_root(self._base, flow) / "executions" / run
        await self._connection.fetch_json("PUT", url, flow, api_key, body={"state": "TERMINATED"})
        return True

    async def forget(self, flow: Flow, chat_id: str, *, api_key: SecretStr | None = None) -> int:
        """Delete the messages of a chat's session in Flowise, with the executions that hold them; return how many.

        By chat, Flowise would leave the executions. Those of calls that failed have no message and stay in any case.
        """
        url = flow_address(self._base, flow, "chatmessage")
        messages = await self._connection.fetch_json("GET", url.with_query(chatId=chat_id), flow, api_key)
        with ExpectedForm(flow.key):
            sessions = {each["sessionId"] for each in messages}
        deleted = 0
        for session in sessions:
            # Without one of the two, Flowise would delete all of the flow's.
            named = url.with_query(sessionId=session) if session else url.with_query(chatId=chat_id)
            found = await self._connection.fetch_json("DELETE", named, flow, api_key)
            with ExpectedForm(flow.key):
                deleted += int(found["affected"])
        return deleted

    # The server

    async def ping(self, *, api_key: SecretStr | None = None) -> timedelta:
        """Return how long the server took to say ``pong``. ``api_key`` is not sent, and not quoted."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        body = await self._connection.fetch("GET", self._base / "ping", any_type=True)
        if body.strip() != b"pong":
            told = clean(body[:600].decode(errors="replace"), secrets=self._connection.secrets(api_key))
            raise FlowProtocolError(ANY_FLOW, f"no pong but {told}")
        return timedelta(seconds=loop.time() - started)

    async def version(self) -> str:
        """Return the server's version, such as ``3.1.4``."""
        found = await self._connection.fetch_json("GET", self._base / "version")
        with ExpectedForm(ANY_FLOW):
            return name_of(found["version"])
