"""A house with an MCP bridge at its door: broker, sandbox Flowise, worker, and the bridge over HTTP with two tokens."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
from door_house import DoorHouse
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

REGISTRY = """
intent_classification:
  fallback_flow: creative-orientation
  on_low: clarify
operational_flows:
  technical-analysis:
    id: 896f7eed-342e-4596-9429-6fb9b5fbd91b
    name: Technical Analysis
    domain: technical
    intent_keywords: [python, database, docker]
    examples: [How do I connect PostgreSQL to Python?, Which index does this join need?, Why is the docker build slow?]
    fallback: document-qa
  creative-orientation:
    id: 7d405a51-968d-4467-9ae6-d49bf182cdf9
    name: Creative Orientation
    domain: creative
    intent_keywords: [poem, story, painting]
    examples: [Write a poem about the sea, Help me imagine a story, What should this painting show?]
  document-qa:
    id: 2f6c2f0e-6f0b-4c52-9a51-6f1f0a3f7c11
    domain: documents
    memory: history
    intent_keywords: [contract, clause, pdf]
    examples: [What does the contract say about notice?, Which clause covers liability?, Summarise this PDF]
  slow:
    id: 00000000-0000-4000-8000-000000000001
    domain: creative
    cache: false
    config: {temperature: 0.5}
  broken:
    id: 00000000-0000-4000-8000-000000000002
    domain: creative
    attempts: 1
    failure_ttl: 0
"""
SLOW, BROKEN = (f"00000000-0000-4000-8000-00000000000{n}" for n in (1, 2))
#: A question that resembles nothing the flows are for.
FOREIGN = "the weather tomorrow in Paris"

ALICE, BOB = "alice-0123456789abcdef", "bob-0123456789abcdef"
TOKENS = f"alice={ALICE},bob={BOB}"


class BridgeHouse(DoorHouse):
    """A house, and how to reach it as an MCP client."""

    def __init__(self, folder: Path, *, aof: bool = False) -> None:
        super().__init__(folder, registry=REGISTRY, aof=aof)
        #: Where a gateway is, in tests that open one beside the bridge.
        self.gateway_url = ""

    def door(self, *options: str, port: int = 0, **env: str) -> str:
        """Start a bridge over HTTP; return its address once it serves."""
        return self.opened("bridge", "mcp_bridge", "--http", str(port), *options, **env)

    def stdio(self, *options: str, **env: str) -> StdioServerParameters:
        """Return how a client starts a bridge over stdio."""
        arguments = ["-m", "mcp_bridge", *options]
        return StdioServerParameters(command=sys.executable, args=arguments, env={**os.environ, **self.env, **env})


@asynccontextmanager
async def client_of(url: str, token: str | None = ALICE, **options: Any) -> AsyncIterator[Client]:
    """Connect the SDK's client over HTTP."""
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(url, http_client=http), **options) as client,
    ):
        yield client


@asynccontextmanager
async def kept_open(opened: AbstractAsyncContextManager[Client]) -> AsyncIterator[Client]:
    """Keep a client open from within a task of its own: a fixture is entered and left in different ones."""
    ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def hold() -> None:
        try:
            async with opened as client:
                ready.set_result(client)
                await over.wait()
        except BaseException as failure:
            if not ready.done():
                ready.set_exception(failure)
            raise

    holding = asyncio.create_task(hold())
    try:
        yield await ready
    finally:
        over.set()
        await asyncio.wait([holding], timeout=10)


class Raw:
    """Speaks JSON-RPC over HTTP without an SDK, in the revision of 2026-07-28 or with a session of 2025-11-25."""

    def __init__(self, url: str, token: str = ALICE, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        self._url = url
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
        self.http = httpx2.AsyncClient(headers=headers, timeout=60, transport=transport)
        self._next = 0

    async def __aenter__(self) -> Raw:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    async def modern(
        self, method: str, params: Mapping[str, Any], *, capabilities: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the response to one request."""
        response = await self.http.post(
            self._url, json=self.request(method, params, capabilities), headers=head(method, params)
        )
        answer: dict[str, Any] = message_of(response)
        return answer

    def request(
        self, method: str, params: Mapping[str, Any], capabilities: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        self._next += 1
        meta = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": capabilities or {},
            "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
        }
        return {"jsonrpc": "2.0", "id": self._next, "method": method, "params": {**params, "_meta": meta}}

    async def open_session(self, capabilities: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Begin a session of 2025-11-25. Returns what the server said of itself."""
        params = {
            "protocolVersion": "2025-11-25",
            "capabilities": capabilities or {},
            "clientInfo": {"name": "raw", "version": "1"},
        }
        response = await self.http.post(
            self._url, json={"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
        )
        self.http.headers["mcp-session-id"] = response.headers["mcp-session-id"]
        self.http.headers["mcp-protocol-version"] = "2025-11-25"
        await self.http.post(self._url, json={"jsonrpc": "2.0", "method": "notifications/initialized"})
        result: dict[str, Any] = message_of(response)["result"]
        return result

    async def legacy(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the response to one request in the session."""
        self._next += 1
        body = {"jsonrpc": "2.0", "id": self._next, "method": method, "params": dict(params)}
        return message_of(await self.http.post(self._url, json=body))


def error_of(result: Any) -> dict[str, Any]:
    """Return the error object that a failed call's result tells, an object of the SDK's or one of the wire."""
    failed, parts, structure = (
        (result["isError"], result["content"], result.get("structuredContent"))
        if isinstance(result, dict)
        else (result.is_error, [each.model_dump() for each in result.content], result.structured_content)
    )
    assert failed
    assert structure is None
    error: dict[str, Any] = json.loads(parts[0]["text"])
    return error


def head(method: str, params: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers of 2026-07-28 that repeat a request's body."""
    name = params.get("name") or params.get("taskId") or params.get("uri")
    found = {"mcp-protocol-version": "2026-07-28", "mcp-method": method}
    return {**found, "mcp-name": str(name)} if name is not None else found


def message_of(response: httpx2.Response) -> dict[str, Any]:
    """Return the last JSON-RPC message of a response, plain or streamed."""
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        lines = [line[5:] for line in response.text.splitlines() if line.startswith("data:") and line[5:].strip()]
        found: dict[str, Any] = json.loads(lines[-1])
        return found
    plain: dict[str, Any] = response.json()
    return plain


async def events(stream: httpx2.Response) -> AsyncIterator[dict[str, Any]]:
    """Yield the JSON-RPC messages of an event stream."""
    async for line in stream.aiter_lines():
        if line.startswith("data:") and line[5:].strip():
            yield json.loads(line[5:])
