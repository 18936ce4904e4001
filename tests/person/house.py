"""What one person has in a house with a bridge, and what is said to whoever else asks for it."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from typing import Any, NamedTuple

import httpx2
import pytest
from bridge_house import BridgeHouse, events, head, message_of
from pipeline.house import House
from typer.core import TyperGroup

from agentic_flywheel.asker import Asker
from producer import AsyncProducer
from producer.cli import main
from producer.cli.commands import COMMANDS, load_command

#: Stands in every text of the person. Whoever finds it has found what is not theirs.
MARKER = "heliotrope"
#: The person.
ANN = Asker("shop", "ann")
#: Owners of tokens.
OWNERS = {"shop": "shop-0123456789abcdef", "rival": "rival-0123456789abcdef"}

_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d[0-9:.]*(?:Z|\+00:00)?|datetime\.(?:timedelta|datetime)\([^()]*\)|\bPT[0-9.]+S"
)
_DIGITS = re.compile(r"\b[0-9a-f]{8}(?:-?[0-9a-f]{4,}){1,7}(?:-\d+)?\b|\d+(?:\.\d+)?")
_TASKS: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
#: How a text with an answer shows how long it took.
_TOOK = re.compile(r"\bN (?:ms|s|m|min|seconds?)\b")


class Things(NamedTuple):
    """Names of what a person has; or of what nobody ever had."""

    query_id: str
    session_id: str
    batch_id: str
    key: str

    def plain(self, told: str) -> str:
        """Return what was told without these names, numbers and times, which differ from one call to the next."""
        for name in self:
            told = told.replace(name, "NAME")
        return _TOOK.sub("TIME", _DIGITS.sub("N", _MOMENT.sub("TIME", told)))


def nothing() -> Things:
    """Return names that nobody ever had."""
    return Things(uuid.uuid4().hex, f"s-{uuid.uuid4().hex[:12]}", uuid.uuid4().hex, f"k-{uuid.uuid4().hex[:12]}")


def strangers() -> Iterator[Asker]:
    """Yield another owner, and another user of the same owner; both have nothing yet."""
    yield Asker("rival", f"u-{uuid.uuid4().hex[:12]}")
    yield Asker("shop", f"u-{uuid.uuid4().hex[:12]}")


@dataclass
class Bridge:
    """Speaks to the bridge for anybody."""

    house: BridgeHouse

    async def ask(self, asker: Asker, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Return the response to one request."""
        async with httpx2.AsyncClient(timeout=60) as http:
            found: dict[str, Any] = message_of(await http.send(self._request(http, asker, method, params)))
        return found

    async def first_of(self, asker: Asker, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Return the first message of a response that is a stream."""
        async with httpx2.AsyncClient(timeout=60) as http:
            response = await http.send(self._request(http, asker, method, params), stream=True)
            try:
                return await anext(events(response))
            finally:
                await response.aclose()

    def _request(self, http: httpx2.AsyncClient, asker: Asker, method: str, params: dict[str, Any]) -> httpx2.Request:
        headers = {
            **head(method, params),
            "Authorization": f"Bearer {OWNERS[asker.owner]}",
            "Accept": "application/json, text/event-stream",
            **({"Flywheel-User": asker.user} if asker.user else {}),
        }
        meta = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            # A client with tasks is given one in place of an answer.
            "io.modelcontextprotocol/clientCapabilities": {} if method == "tools/call" else _TASKS,
            "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
        }
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
        written = [(name.encode(), value.encode()) for name, value in headers.items()]
        return http.build_request("POST", self.house.url, json=body, headers=written)

    async def call(self, asker: Asker, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return what a tool told."""
        return await self.ask(asker, "tools/call", {"name": tool, "arguments": arguments})


async def possess(house: BridgeHouse) -> Things:
    """Ask, in a session and a batch of the person's, and rate. Everything says the marker."""
    things = nothing()
    async with AsyncProducer(house.settings, owner=ANN.owner, user=ANN.user) as producer:
        await producer.use_profile(things.session_id, None)
        asked = await producer.ask(
            f"How do I use a python database for {MARKER}?",
            session_id=things.session_id,
            idempotency_key=things.key,
            metadata={"about": MARKER},
            wait=30,
        )
        await producer.score(asked.query_id, 2, comment=f"{MARKER} is missing")
    told = await Bridge(house).call(ANN, "flowise_batch", {"questions": [f"Write a poem about {MARKER}"], "wait_s": 20})
    batch_id = told["result"]["structuredContent"]["batch_id"]
    return things._replace(query_id=asked.query_id, batch_id=batch_id)


def run_command(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command in this process. Returns all that it said, and how it ended."""
    monkeypatch.setattr(sys, "argv", ["flywheel", *arguments])
    monkeypatch.setattr(sys, "stdin", StringIO(""))
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main()
    said = capsys.readouterr()
    return json.dumps([left.value.code, said.out, said.err])


async def outcome(told: Any) -> str:
    """Return what a call of a producer came to, in words: its result, or its error."""
    try:
        if hasattr(told, "__anext__"):
            result = [await asyncio.wait_for(anext(told), 10)]
        elif hasattr(told, "__await__"):
            result = await asyncio.wait_for(told, 30)
        else:
            result = told
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return repr(result)


def commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    for name in COMMANDS:
        found = load_command(name)
        if isinstance(found, TyperGroup) and found.commands:
            yield from (((name, each), command) for each, command in found.commands.items())
        else:
            yield (name,), found


def content(house: House, key: str) -> Any:
    read: dict[Any, Any] = {
        "string": lambda: house.client.get(key),
        "hash": lambda: house.client.hgetall(key),
        "list": lambda: house.client.lrange(key, 0, -1),
        "set": lambda: house.client.smembers(key),
        "zset": lambda: house.client.zrange(key, 0, -1),
        "stream": lambda: house.client.xrange(key),
        "none": lambda: "",
    }
    return read[house.client.type(key)]()
