"""Streams and waits that are cut: their clients see that what came is not the whole."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from typing import Any

import httpx2
import pytest
from bridge_house import SLOW

from agentic_flywheel.access.file import new_token, revoke, tokens_path
from agentic_flywheel.access.grant import Scope
from gateway.house import TOKENS, GatewayHouse, frames_of, gateway_client, served

APIS = ("native", "openai", "flowise")


async def opened(http: httpx2.AsyncClient, api: str) -> Any:
    """Return what streams the answer to a question of the flow `slow`."""
    if api == "native":
        asked = await http.post("/v1/queries", json={"question": "Slowly, natively", "flow": "slow"})
        return http.stream("GET", asked.json()["links"]["events"])
    if api == "openai":
        messages = [{"role": "user", "content": "Slowly, in a chat"}]
        return http.stream("POST", "/v1/chat/completions", json={"model": "slow", "stream": True, "messages": messages})
    body = {"question": "Slowly, in a prediction", "streaming": True}
    return http.stream("POST", "/api/v1/prediction/slow", json=body)


def ended_with(api: str, frames: list[dict[str, Any]]) -> str:
    """Return the error with which a stream has ended; the first of each API's last frames has it."""
    datas = [each["data"] for each in frames if "data" in each]
    if api == "native":
        assert frames[-1]["event"] == "error", frames
        return str(json.loads(datas[-1])["error"])
    if api == "openai":
        assert datas[-1] == "[DONE]"
        return str(json.loads(datas[-2])["error"]["message"])
    last, end = map(json.loads, datas[-2:])
    assert (last["event"], end) == ("error", {"event": "end", "data": "[DONE]"})
    return str(last["data"])


@pytest.mark.parametrize("api", APIS)
async def test_a_stream_says_that_its_token_has_ended(
    gateway_house: GatewayHouse, monkeypatch: pytest.MonkeyPatch, api: str
) -> None:
    gateway_house.behave(SLOW, token_delay=0.3)
    path = tokens_path(gateway_house.settings)
    token = new_token(path, owner="carol", scopes=(Scope.ASK,))
    frames = list[dict[str, Any]]()
    async with (
        asyncio.timeout(60),
        served(gateway_house, monkeypatch) as port,
        gateway_client(f"http://127.0.0.1:{port}", token.text) as http,
        await opened(http, api) as stream,
    ):
        async for each in frames_of(stream):
            frames.append(each)
            revoke(path, [token.stored.id])

    assert ended_with(api, frames).startswith("A valid token is needed")


async def test_whoever_waits_is_told_that_the_gateway_stops(gateway_house: GatewayHouse) -> None:
    gateway_house.behave(SLOW, latency=10)
    url = await asyncio.to_thread(gateway_house.gateway, FLYWHEEL_MCP_TOKENS=TOKENS)
    gateway = gateway_house.doors[-1]
    ask = {"question": "Slowly, and waiting", "flow": "slow"}
    chat = {"model": "slow", "messages": [{"role": "user", "content": "Slowly, and waiting for a chat"}]}
    async with asyncio.timeout(60), gateway_client(url) as http:
        known = (await http.post("/v1/queries", json={**ask, "question": "Slowly, known"})).json()["links"]["self"]
        waiting = [
            http.post("/v1/queries?wait=40", json=ask),
            http.get(f"{known}?wait=40"),
            http.post("/v1/batches?wait=40", json={"questions": ["Slowly, in a batch"], "flow": "slow"}),
            http.post("/v1/chat/completions", json=chat),
            http.post("/api/v1/prediction/slow", json={"question": "Slowly, and plain"}),
        ]
        tasks = [asyncio.create_task(each) for each in waiting]
        streams = [asyncio.create_task(_all_of(http, api)) for api in APIS]
        while len((await http.get("/v1/queries", params={"state": "running"})).json()["queries"]) < 7:
            await asyncio.sleep(0.2)
        stopped = time.monotonic()
        gateway.send(signal.SIGTERM)
        asked, looked, batch, completion, prediction = await asyncio.gather(*tasks)
        streamed = await asyncio.gather(*streams)

    assert time.monotonic() - stopped < 5
    assert (asked.status_code, looked.status_code, batch.status_code) == (202, 200, 202), asked.text
    assert asked.json()["query_id"]
    assert [each.json()["done"] for each in (asked, looked, batch)] == [False] * 3
    for each in (completion, prediction):
        assert (each.status_code, each.headers["retry-after"]) == (503, "5"), each.text
        assert "The gateway is stopping; the query " in each.text
    assert completion.headers["x-should-retry"] == "true"
    for api, frames in zip(APIS, streamed, strict=True):
        assert ended_with(api, frames).startswith("The gateway is stopping"), api


async def _all_of(http: httpx2.AsyncClient, api: str) -> list[dict[str, Any]]:
    async with await opened(http, api) as stream:
        return [each async for each in frames_of(stream)]
