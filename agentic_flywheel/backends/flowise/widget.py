"""Pass on to Flowise what its chat widget asks beside predictions: configuration, leads, files, icons, documents."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, NamedTuple

import aiohttp
from pydantic import SecretStr
from yarl import URL

from agentic_flywheel.backends.bodies import StreamedBody
from agentic_flywheel.backends.connection import SHORT_TIMEOUT, Connection, ExpectedForm
from agentic_flywheel.backends.decoding import decode_json
from agentic_flywheel.backends.flowise.addresses import flow_address, server_root
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowProtocolError, FlowTimeout
from agentic_flywheel.errors.flow import ANY_FLOW

#: Bytes of a file or an icon.
MAX_FILE = 16 * 2**20


class StoredFile(NamedTuple):
    """What Flowise keeps, with the type that it says it has."""

    type: str
    content: bytes


class Widget:
    """The calls of a server's chat widget. Each is bounded in time and size, and raises FlowError."""

    def __init__(self, base: URL, connection: Connection) -> None:
        self._base, self._connection = base, connection

    async def config(self, flow: Flow) -> dict[str, Any]:
        """Return what the widget is told of a flow. Needs no key."""
        url = flow_address(self._base, flow, "public-chatbotConfig")
        found = await self._connection.fetch_json("GET", url, flow)
        with ExpectedForm(flow.key):
            return dict(found)

    async def lead(self, flow: Flow, lead: dict[str, str]) -> dict[str, Any]:
        """Leave with a flow who somebody is."""
        url = server_root(self._base, flow) / "leads" / ""
        found = await self._connection.fetch_json("POST", url, flow, body={"chatflowid": flow.id, **lead})
        with ExpectedForm(flow.key):
            return dict(found)

    async def stored_file(
        self, flow: Flow, chat_id: str, name: str, *, api_key: SecretStr | None = None
    ) -> StoredFile | None:
        """Return a file of a chat; None where Flowise has none of this name."""
        url = server_root(self._base, flow) / "get-upload-file"
        return await self._fetch(
            url.with_query(chatflowId=flow.id, chatId=chat_id, fileName=name), flow, api_key=api_key
        )

    async def icon(self, name: str) -> StoredFile | None:
        """Return the icon of a node; None where Flowise has none."""
        return await self._fetch(self._base / "node-icon" / name, None)

    async def upsert(
        self, flow: Flow, files: StreamedBody, *, api_key: SecretStr | None = None, timeout: float
    ) -> dict[str, Any]:
        """Put documents into the store of a flow. ``timeout``: seconds."""
        url = flow_address(self._base, flow, "vector/upsert")
        answered = await self._connection.fetch("POST", url, flow, api_key, body=files, timeout=timeout)
        with ExpectedForm(flow.key):
            return dict(decode_json(answered))

    async def _fetch(self, url: URL, flow: Flow | None, *, api_key: SecretStr | None = None) -> StoredFile | None:
        key = flow.key if flow else ANY_FLOW
        try:
            async with asyncio.timeout(SHORT_TIMEOUT):
                return await self._connection.exchange("GET", url, flow, api_key, None, partial(_read_file, key))
        except TimeoutError:
            raise FlowTimeout(key, SHORT_TIMEOUT) from None


async def _read_file(flow: str, response: aiohttp.ClientResponse) -> StoredFile | None:
    # Flowise answers 500 for what it does not have, and sends its page for a wrong path.
    if response.status != 200 or response.content_type == "text/html":
        return None
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > MAX_FILE:
            raise FlowProtocolError(flow, f"the file is larger than {MAX_FILE >> 20} MB")
    return StoredFile(response.content_type, bytes(content))
