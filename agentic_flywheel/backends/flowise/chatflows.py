"""Ask a Flowise server what it knows of its flows: which there are, what their owners allow, whether they stream."""

from __future__ import annotations

import contextlib
from functools import partial

from pydantic import SecretStr
from yarl import URL

from agentic_flywheel.backends.connection import SHORT_TIMEOUT, Connection, ExpectedForm, secret_of
from agentic_flywheel.backends.flowise.addresses import flow_address
from agentic_flywheel.backends.flowise.listing import page_of, read_accepted, read_chatflow, read_chatflows
from agentic_flywheel.backends.flowise.models import Chatflow, UploadsAccepted
from agentic_flywheel.backends.remembered import Remembered
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowError, FlowNotFound
from agentic_flywheel.errors.flow import ANY_FLOW

#: Seconds for which it is remembered whether a flow streams, and which uploads it makes use of.
REMEMBERED = 300.0
#: The same for what a flow's owner allows: an answer says which of its configuration was used.
ALLOWED_REMEMBERED = 30.0
#: Seconds for a look at a flow that a call waits for.
LOOK_TIMEOUT = 2.0
#: Flows of a server that are listed, and of one page: each comes with all its nodes, often 100 KB.
MOST_FLOWS, PAGE = 10_000, 50


class Chatflows:
    """What a server knows of its flows. Some of it is remembered."""

    def __init__(self, base: URL, connection: Connection) -> None:
        self._base, self._connection = base, connection
        self._streaming = Remembered[bool](REMEMBERED)
        self._known = Remembered[Chatflow | None](ALLOWED_REMEMBERED)
        self._accepted = Remembered[UploadsAccepted](REMEMBERED)

    async def all(self, *, api_key: SecretStr | None = None) -> tuple[Chatflow, ...]:
        """Return all flows that the key may see, but no more than ``MOST_FLOWS``; each once."""
        flows: dict[str, Chatflow] = {}
        for number in range(1, MOST_FLOWS // PAGE + 1):
            url = (self._base / "chatflows").with_query(page=number, limit=PAGE)
            found = await self._connection.fetch_json("GET", url, None, api_key)
            with ExpectedForm(ANY_FLOW):
                page, total = page_of(found)
            before = len(flows)
            flows |= {each.id: each for each in page}
            if len(flows) in (before, total):
                break
        return tuple(flows.values())

    async def of_key(self, api_key: SecretStr) -> tuple[Chatflow, ...]:
        """Return the flows that are bound to this very key."""
        path = self._base / "chatflows" / "apikey" / api_key.get_secret_value()
        found = await self._connection.fetch_json("GET", path.with_query(keyonly="true"))
        with ExpectedForm(ANY_FLOW):
            return read_chatflows(found)

    async def one(self, flow: Flow, *, api_key: SecretStr | None = None, timeout: float = SHORT_TIMEOUT) -> Chatflow:
        """Return what Flowise knows of one flow. Raises FlowNotFound."""
        url = flow_address(self._base, flow, "chatflows")
        found = await self._connection.fetch_json("GET", url, flow, api_key, timeout=timeout)
        with ExpectedForm(flow.key):
            return read_chatflow(found)

    async def known(self, flow: Flow, *, api_key: SecretStr | None = None, age: float | None = None) -> Chatflow | None:
        """Return what Flowise knows of a flow, None where it does not tell; remembered for ``ALLOWED_REMEMBERED``.

        ``age``: it was asked so many seconds ago at most, as before a refusal: the flow's owner may have changed it.
        """
        key = (flow_address(self._base, flow, "chatflows"), secret_of(api_key))
        return await self._known.get(key, partial(self._look, flow, api_key), age=age)

    async def can_stream(self, flow: Flow) -> bool:
        """Return whether the flow streams; remembered for some minutes, asked once however many wait.

        Raises FlowNotFound: a streaming request for an unknown flow never answers, so ask this first.
        """
        url = flow_address(self._base, flow, "chatflows-streaming")
        return await self._streaming.get(url, partial(self._probe, url, flow))

    async def check(self, flow: Flow) -> None:
        """Ask whether a flow is still there, whatever is remembered. Raises FlowNotFound, FlowError."""
        url = flow_address(self._base, flow, "chatflows-streaming")
        try:
            await self._probe(url, flow)
        except FlowNotFound:
            self._streaming.forget(url)
            raise

    async def accepts(self, flow: Flow, *, age: float | None = None) -> UploadsAccepted:
        """Return which uploads a flow makes use of; remembered for some minutes. Needs no key. Raises FlowError.

        ``age``: as in ``known``.
        """
        url = flow_address(self._base, flow, "chatflows-uploads")
        return await self._accepted.get(url, partial(self._look_at_uploads, url, flow), age=age)

    async def _look_at_uploads(self, url: URL, flow: Flow) -> UploadsAccepted:
        found = await self._connection.fetch_json("GET", url, flow)
        with ExpectedForm(flow.key):
            return read_accepted(found)

    async def _probe(self, url: URL, flow: Flow) -> bool:
        found = await self._connection.fetch_json("GET", url, flow)
        return isinstance(found, dict) and found.get("isStreaming") is True

    async def _look(self, flow: Flow, api_key: SecretStr | None) -> Chatflow | None:
        with contextlib.suppress(FlowError):
            return await self.one(flow, api_key=api_key, timeout=LOOK_TIMEOUT)
        return None
