"""Whoever else asks over HTTP for what is a person's is told what would be told of what never was.

The routes are those of the application, of every API that it speaks. Each value is given by the name that a path, a
query string, a header or a body has for it, so a new name fails here until it is known.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from bridge_house import BridgeHouse
from gateway.house import served
from pydantic import SecretStr

from http_gateway.app import build_app
from http_gateway.gateway import Gateway
from person.house import ANN, MARKER, OWNERS, Things, nothing, strangers
from person.http_routes import Operation, operations
from person.test_walk import LEFT_OUT, NAMES, QUESTION, VALUES, assert_the_same, plainly, untouched

#: The names of HTTP alone: things, ...
HTTP_NAMES = NAMES | {
    "Idempotency-Key": "key",
    "chatId": "session_id",
    "chat_id": "session_id",
    "sessionId": "session_id",
    "messageId": "query_id",
    "feedback_id": "query_id",
}
#: ... values, ...
HTTP_VALUES = VALUES | {
    "answers": True,
    "everyone": False,
    "name": "creative-orientation",
    "chatflowId": "creative-orientation",
    "chatflowid": "creative-orientation",
    "fileName": f"{'0' * 32}-none.txt",
    "rating": "THUMBS_UP",
    "model": "technical",
    "messages": [{"role": "user", "content": QUESTION}],
}
#: ... and what is in no call.
HTTP_LEFT_OUT = LEFT_OUT | {
    "Last-Event-ID", "audio", "content", "deadline", "email", "enable_thinking", "error", "frequency_penalty",
    "function_call", "functions", "history", "humanInput", "include_reasoning", "logit_bias", "logprobs",
    "max_completion_tokens", "max_tokens", "metadata", "min_p", "modalities", "n", "order", "overrideConfig",
    "parallel_tool_calls", "phone", "prediction", "presence_penalty", "prompt_cache_key", "prompt_cache_retention",
    "reasoning", "reasoning_effort", "repetition_penalty", "response_format", "safety_identifier", "seed",
    "service_tier", "state", "store", "stream", "stream_options", "streaming", "temperature", "thinking",
    "tool_choice", "tools", "top_k", "top_logprobs", "top_p", "uploads", "verbosity", "web_search_options",
}  # fmt: skip


#: Names that mean something else on one path.
_NOT_HERE = {"/v1/chat/completions": {"stop"}}
#: Figures of all: they differ from one moment to the next, and name nobody.
OF_ALL = ("/healthz", "/readyz", "/metrics")


@asynccontextmanager
async def gateway_of(house: BridgeHouse, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx2.AsyncClient]:
    """Yield a client of a gateway for the owners of the house."""
    tokens = ",".join(f"{owner}={token}" for owner, token in OWNERS.items())
    given = {"mcp_tokens": SecretStr(tokens), "http_rate": 2000.0}
    async with (
        served(house, monkeypatch, settings=given) as port,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http,
    ):
        yield http


def values_for(operation: Operation, things: Things) -> dict[str, Any]:
    wanted = operation.where.keys() - _NOT_HERE.get(operation.path, set())
    unknown = wanted - HTTP_NAMES.keys() - HTTP_VALUES.keys() - HTTP_LEFT_OUT
    assert not unknown, f"say in HTTP_NAMES, HTTP_VALUES or HTTP_LEFT_OUT what {unknown} of {operation} is"
    given = {name: getattr(things, HTTP_NAMES[name]) for name in wanted if name in HTTP_NAMES}
    return given | {name: HTTP_VALUES[name] for name in wanted if name in HTTP_VALUES}


def ways(operation: Operation, things: Things) -> Iterator[dict[str, Any]]:
    """Yield the values of several calls: with everything, and with what is needed and one thing more."""
    whole = values_for(operation, things)
    # What is waited for has ended with every call; otherwise it is sometimes further than at other times.
    needed = {name: value for name, value in whole.items() if operation.needed[name] or name == "wait"}
    yield whole
    yield needed
    for thing in [name for name in whole if name in HTTP_NAMES and name not in needed]:
        yield needed | {thing: whole[thing]}


async def told_to(http: httpx2.AsyncClient, operation: Operation, given: dict[str, Any], asker: Any) -> str:
    headers = {"Authorization": f"Bearer {OWNERS[asker.owner]}", "Flywheel-User": str(asker.user)}
    response = await http.send(operation.request(http, given, headers))
    return f"{response.status_code} {response.headers.get('location')} {response.text}"


@pytest.mark.timeout(300)
async def test_a_route_tells_nothing_of_another_asker(
    house: BridgeHouse, things: Things, monkeypatch: pytest.MonkeyPatch
) -> None:
    walked = list(operations(build_app(Gateway(house.settings))))
    named = {"GET /v1/queries/{query_id}", "POST /v1/batches", "GET /v1/sessions/{session_id}"}
    assert named <= set(map(str, walked))
    async with gateway_of(house, monkeypatch) as http:
        for operation in walked:
            if operation.path in OF_ALL:
                continue
            for number in range(len(list(ways(operation, things)))):
                for mine, theirs in zip(strangers(), strangers(), strict=True):
                    never = nothing()
                    told = [
                        await told_to(http, operation, list(ways(operation, which))[number], asker)
                        for asker, which in ((mine, things), (theirs, never))
                    ]
                    told = [plainly(each, mine, theirs) for each in told]
                    assert_the_same(told, things, never, saying=(mine, str(operation), number))
    await untouched(house, things)


async def test_whose_they_are_finds_them(house: BridgeHouse, things: Things, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {}
    async with gateway_of(house, monkeypatch) as http:
        for operation in operations(build_app(Gateway(house.settings))):
            if operation.method == "GET" and operation.path not in OF_ALL:
                found[str(operation)] = str(
                    [await told_to(http, operation, each, ANN) for each in ways(operation, things)]
                )

    assert {name for name, told in found.items() if MARKER in told} >= {
        "GET /v1/queries",
        "GET /v1/queries/{query_id}",
        "GET /v1/queries/{query_id}/events",
        "GET /v1/batches/{batch_id}",
        "GET /v1/sessions/{session_id}/turns",
        "GET /api/v1/chatmessage/{name}",
    }


@pytest.mark.parametrize("name", ["two words", "a\u200bb", "x" * 201])
async def test_a_name_that_is_none_is_refused_by_the_gateway(
    name: str, house: BridgeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = [(b"Authorization", f"Bearer {OWNERS['shop']}".encode()), (b"Flywheel-User", name.encode())]
    async with gateway_of(house, monkeypatch) as http:
        told = await http.get("/v1/queries", headers=headers)

    assert (told.status_code, told.json()["error"]["error_type"]) == (422, "InvalidQuery")
    assert OWNERS["shop"] not in told.text
