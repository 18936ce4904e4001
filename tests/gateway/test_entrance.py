"""What a request passes before its route: origin, token, rate, what is open, time and size of its body."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import psutil
import pytest
from bridge_house import SLOW
from processes import free_port, wait_for
from pydantic import SecretStr

from agentic_flywheel.access.file import new_token, revoke, tokens_path
from agentic_flywheel.access.grant import Scope
from agentic_flywheel.broker import wire
from agentic_flywheel.errors import InvalidSetting
from agentic_flywheel.settings import Settings
from agentic_flywheel.stack import StackInfo
from gateway.house import BOB, TOKENS, GatewayHouse, frames_of, gateway_client, served
from http_gateway.__main__ import main
from http_gateway.gateway import Gateway
from http_gateway.streams import frame, kept_alive
from producer.stack.claim import claim


def at(port: int) -> str:
    return f"http://127.0.0.1:{port}"


async def test_a_page_of_an_allowed_origin_may_use_it_errors_too(
    gateway_house: GatewayHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"http_origins": "https://shop.example, https://b.example/", "mcp_tokens": SecretStr(TOKENS)}
    async with served(gateway_house, monkeypatch, settings=given) as port, gateway_client(at(port)) as http:
        asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        told = {
            origin: [
                await http.options("/v1/queries", headers={"Origin": origin, **asks}),
                await http.get("/v1/flows", headers={"Origin": origin}),
                await http.get("/v1/queries/" + "0" * 32, headers={"Origin": origin}),
                await http.get("/v1/flows", headers={"Origin": origin, "Authorization": "Bearer wrong"}),
            ]
            for origin in ("https://shop.example", "https://b.example", "http://localhost:3000", "https://evil.example")
        }

    shared = {
        origin: {each.headers.get("access-control-allow-origin") for each in found} for origin, found in told.items()
    }
    assert shared.pop("https://evil.example") == {None}
    assert shared == {origin: {origin} for origin in shared}
    assert [each.status_code for each in told["https://shop.example"]] == [204, 200, 404, 401]
    assert told["https://shop.example"][0].headers["access-control-allow-headers"] == "authorization"
    assert "x-request-id" in told["https://shop.example"][1].headers["access-control-expose-headers"]


async def test_without_tokens_only_pages_and_names_of_this_machine_are_served(
    gateway_house: GatewayHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = served(gateway_house, monkeypatch, allowed=["gateway.example"], settings={"http_origins": "*"})
    async with serving as port, gateway_client(at(port), None) as http:
        told = [
            (await http.get("/v1/flows", headers=headers)).status_code
            for headers in (
                {},
                {"Origin": "http://localhost:3000"},
                {"Origin": "https://evil.example"},
                {"Origin": "null"},
                {"Host": "rebound.example"},
                {"Host": "gateway.example:80"},
                {"Host": "["},
            )
        ]

    assert told == [200, 200, 403, 403, 403, 200, 400]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /v1/flows HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n", 400),
        (b"GET /v1/flows HTTP/1.1\r\nHost: evil.example\r\nHost: localhost\r\n", 400),
        (b"GET /v1/flows HTTP/1.1\r\nHost: evil.example@localhost\r\n", 400),
        (b"GET /v1/flows HTTP/1.1\r\nHost: localhost/evil\r\n", 400),
        (b"GET /v1/flows HTTP/1.1\r\nHost:\r\n", 400),
        (b"GET /v1/flows HTTP/1.1\r\n", 400),
        (b"GET /v1/flows HTTP/1.0\r\n", 400),
        (b"GET /healthz HTTP/1.0\r\n", 200),
        (b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nContent-Length: 0\r\n", 400),
        (b"GET http://evil.example/v1/flows HTTP/1.1\r\nHost: localhost\r\n", 403),
        (b"GET http://evil.example@localhost/v1/flows HTTP/1.1\r\nHost: localhost\r\n", 400),
        (b"GET http://evil.example/v1/flows HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n", 400),
        (b"GET http://localhost/v1/flows HTTP/1.1\r\nHost: evil.example\r\n", 200),
        (b"GET /v1/flows HTTP/1.1\r\nHost: [::1]:80\r\n", 200),
    ],
)
async def test_a_request_has_one_host_which_is_a_name_or_an_address(
    gateway_house: GatewayHouse, monkeypatch: pytest.MonkeyPatch, head: bytes, status: int
) -> None:
    async with served(gateway_house, monkeypatch) as port, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head + b"Connection: close\r\n\r\n")
        told = await reader.read()
        writer.close()

    assert int(told.split()[1]) == status, told
    assert status != 400 or b"MalformedRequest" in told


async def test_all_origins_are_shared_with_where_tokens_are_needed(
    gateway_house: GatewayHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"http_origins": "*", "mcp_tokens": SecretStr(TOKENS)}
    async with served(gateway_house, monkeypatch, settings=given) as port, gateway_client(at(port)) as http:
        told = await http.get("/v1/flows", headers={"Origin": "https://anywhere.example"})

    assert (told.status_code, told.headers["access-control-allow-origin"]) == (200, "https://anywhere.example")


def test_beyond_this_machine_it_needs_tokens(gateway_house: GatewayHouse) -> None:
    with pytest.raises(InvalidSetting):
        Gateway(gateway_house.settings, host="0.0.0.0")


async def test_a_token_without_the_scope_is_told_which_one_it_lacks(
    gateway_house: GatewayHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = new_token(tokens_path(gateway_house.settings), owner="carol", scopes=(Scope.READ,))
    async with served(gateway_house, monkeypatch) as port, gateway_client(at(port), token.text) as http:
        asked = await http.post("/v1/queries", json={"question": "?"})
        read = await http.get("/v1/health")
        flat = await http.post("/api/v1/prediction/auto", json={"question": "?"})
        streamed = await http.post("/api/v1/prediction/auto", json={"question": "?", "streaming": True})
        thumb = {"messageId": "m", "chatId": "c", "rating": "THUMBS_UP", "chatflowid": "auto"}
        rated = await http.post("/api/v1/feedback/auto", json=thumb)
    revoke(tokens_path(gateway_house.settings), [token.stored.id])

    assert (asked.status_code, asked.json()["error"]["details"]["scope"]) == (403, "ask")
    assert 'scope="ask"' in asked.headers["www-authenticate"]
    assert read.status_code == 200
    assert [each.status_code for each in (flat, streamed, rated)] == [403, 200, 403]
    for each in (flat, streamed, rated):
        assert "needs the scope ask" in each.text


async def test_a_stream_ends_with_its_token(gateway_house: GatewayHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway_house.behave(SLOW, latency=20)
    path = tokens_path(gateway_house.settings)
    token = new_token(path, owner="carol", scopes=(Scope.ASK,))
    serving = served(gateway_house, monkeypatch)
    async with asyncio.timeout(60), serving as port, gateway_client(at(port), token.text) as http:
        asked = (await http.post("/v1/queries", json={"question": "Long", "flow": "slow"})).json()
        async with http.stream("GET", asked["links"]["events"]) as stream:
            async for _ in frames_of(stream):
                revoke(path, [token.stored.id])
        after = await http.get(asked["links"]["self"])

    assert after.status_code == 401


async def test_the_rate_of_a_token_is_bounded(gateway_house: GatewayHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"http_rate": 0.1, "mcp_tokens": SecretStr(TOKENS)}
    async with served(gateway_house, monkeypatch, settings=given) as port, gateway_client(at(port)) as http:
        told = [await http.get("/v1/flows") for _ in range(4)]
        async with gateway_client(at(port), BOB) as bob:
            theirs = await bob.get("/v1/flows")
        open_to_all = await http.get("/healthz")

    assert [each.status_code for each in told] == [200, 429, 429, 429]
    assert told[1].json()["error"]["error_type"] == "TooManyCalls"
    assert 1 <= int(told[1].headers["retry-after"]) <= 10
    assert (theirs.status_code, open_to_all.status_code) == (200, 200)


async def test_requests_and_streams_of_a_token_that_are_open_at_once_are_bounded(
    gateway_house: GatewayHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway_house.behave(SLOW, latency=20)
    given = {"http_open": 2, "mcp_tokens": SecretStr(TOKENS)}
    async with served(gateway_house, monkeypatch, settings=given) as port, gateway_client(at(port)) as http:
        asked = (await http.post("/v1/queries", json={"question": "Long", "flow": "slow"})).json()
        async with contextlib.AsyncExitStack() as opened:
            for _ in range(2):
                stream = await opened.enter_async_context(http.stream("GET", asked["links"]["events"]))
                assert stream.status_code == 200
            beyond = await http.get("/v1/flows")
        await http.post(asked["links"]["cancel"])

    assert (beyond.status_code, beyond.json()["error"]["error_type"]) == (429, "TooManyOpen")


async def test_a_body_that_is_too_large_is_refused_announced_or_not(alice: httpx2.AsyncClient) -> None:
    async def unannounced() -> AsyncIterator[bytes]:
        for _ in range(80):
            yield b" " * 65_536

    headers = {"Content-Type": "application/json"}
    told = [
        await alice.post("/v1/queries", content=b" " * (5 * 2**20), headers=headers),
        await alice.post("/v1/queries", content=unannounced(), headers=headers),
        await alice.post("/v1/batches", content=unannounced(), headers=headers),
    ]

    assert [each.status_code for each in told] == [413] * 3
    assert {each.json()["error"]["error_type"] for each in told} == {"RequestTooLarge"}


async def test_a_body_that_does_not_come_is_not_waited_for(
    gateway_house: GatewayHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(gateway_house, monkeypatch, BODY_TIME=0.3) as port, asyncio.timeout(20):
        told = []
        for path in ("/v1/queries", "/v1/route"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: 100\r\n\r\n{{".encode())
            told.append(await reader.read())
            writer.close()

    for each in told:
        assert each.startswith(b"HTTP/1.1 408")
        assert b"RequestTooSlow" in each


async def test_a_connection_without_a_request_is_closed(
    gateway_house: GatewayHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(gateway_house, monkeypatch, PATIENCE=0.3) as port, asyncio.timeout(20):
        reader, _ = await asyncio.open_connection("127.0.0.1", port)

        assert await reader.read() == b""


@pytest.mark.parametrize("piece", [b"X-Long: " + b"x" * 8_000 + b"\r\n", b"x" * 8_000])
async def test_a_head_without_end_is_refused(gateway_house: GatewayHouse, piece: bytes) -> None:
    host, _, port = gateway_house.url.removeprefix("http://").partition(":")
    sent = 0
    async with asyncio.timeout(30):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /v1/flows HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: ")
        with contextlib.suppress(ConnectionError):
            while sent < 50 * 2**20:
                writer.write(piece)
                await writer.drain()
                sent += len(piece)
        with contextlib.suppress(ConnectionError):
            assert (await reader.read()).startswith(b"HTTP/1.1 431")

    assert sent < 10 * 2**20


async def test_the_rest_of_a_body_that_was_answered_early_is_no_head(gateway_house: GatewayHouse) -> None:
    size, process = 200_000, psutil.Process(gateway_house.doors[0].pid)
    async with asyncio.timeout(30):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway_house.url.rpartition(":")[2]))
        for _ in range(10):
            writer.write(b"POST /v1/queries HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 401")
            await reader.readexactly(int((re.search(rb"content-length: (\d+)", head) or [b"", b"0"])[1]))
            # What comes while the process is busy is read in one piece.
            process.suspend()
            try:
                writer.write(b"x" * size)
                await asyncio.sleep(0.05)
            finally:
                process.resume()
            await asyncio.sleep(0.05)
        writer.close()


@pytest.mark.parametrize(
    ("sent", "status", "shape"),
    [
        (b"FOO /v1/flows HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, b"application/problem+json"),
        (b"GET /v1/\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, b"application/problem+json"),
        (
            b"POST /v1/queries HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            b"application/problem+json",
        ),
        (b"GET /v1/models HTTP/1.1\r\nHost : localhost\r\n\r\n", 400, b'"error": {"message"'),
        (b"GET /v1/flows HTTP/1.1\r\nX: " + b"x" * 70_000, 431, b"HeadTooLarge"),
        (b"GET /api/v1/ping HTTP/1.1\r\nX: " + b"x" * 70_000, 431, b'"message": "The head of the request'),
        (b"GET /v1/models HTTP/1.1\r\nX: " + b"x" * 70_000, 431, b'"code": "head_too_large"'),
    ],
)
async def test_what_is_no_request_is_refused_in_the_shape_of_the_api(
    gateway_house: GatewayHouse, sent: bytes, status: int, shape: bytes
) -> None:
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway_house.url.rpartition(":")[2]))
        writer.write(sent)
        told = await reader.read()
        writer.close()
    head, _, body = told.partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert shape in told
    assert json.loads(body)
    assert f"content-length: {len(body)}".encode() in head
    assert b"connection: close" in head


async def test_what_is_no_request_does_not_end_within_the_answer_before(
    gateway_house: GatewayHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway_house.behave(SLOW, latency=20)
    async with served(gateway_house, monkeypatch) as port, gateway_client(at(port), None) as http, asyncio.timeout(30):
        asked = (await http.post("/v1/queries", json={"question": "Long", "flow": "slow"})).json()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {asked['links']['events']} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        told = await reader.readuntil(b"event: ")
        writer.write(b"FOO / HTTP/1.1\r\n\r\n")
        told += await reader.read()
        writer.close()
        await http.post(asked["links"]["cancel"])

    assert b"MalformedRequest" not in told


async def test_two_thousand_idle_and_slow_clients_do_not_stop_the_service(gateway_house: GatewayHouse) -> None:
    port = free_port()
    url = gateway_house.gateway(port=port)
    _files_of_our_own(2_300)
    head = (
        b"POST /v1/queries HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n"
    )
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    try:
        for number in range(20):
            some = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", port) for _ in range(100)))
            idle += some
            if number % 4 == 0:
                for _, writer in some:
                    writer.write(head + b'{"question": "')
        async with asyncio.timeout(30), gateway_client(url, None) as http:
            told = await http.post("/v1/queries", params={"wait": 20}, json={"question": "Write a poem about the wind"})
    finally:
        for _, writer in idle:
            writer.close()

    assert (told.status_code, told.json()["state"]) == (200, "succeeded")


def _files_of_our_own(number: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard not in (-1, resource.RLIM_INFINITY) and hard < number:
        pytest.skip(f"this system lets a process open {hard} files only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, number), hard))


async def test_a_silent_stream_is_kept_alive() -> None:
    async def frames() -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.sleep(0.2)
        yield b"last"

    told = [each async for each in kept_alive(frames(), every=0.05)]

    assert (told[0], told[-1]) == (b"first", b"last")
    assert set(told[1:-1]) == {b": still here\n\n"}


async def test_a_stream_that_is_left_ends_its_source() -> None:
    left = asyncio.Event()

    async def frames() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x"
                await asyncio.sleep(0.01)
        finally:
            left.set()

    kept = kept_alive(frames(), every=10)
    assert await anext(kept) == b"x"
    await kept.aclose()

    assert left.is_set()


def test_a_frame_says_of_each_line_that_it_is_data() -> None:
    assert frame("one\r\ntwo\rthree\n", event="token", id="1-0") == (
        b"id: 1-0\nevent: token\ndata: one\ndata: two\ndata: three\ndata: \n\n"
    )


@pytest.mark.parametrize("stop", [False, True])
async def test_a_streaming_client_that_goes_away_stops_its_query_only_where_that_is_set(
    gateway_house: GatewayHouse, monkeypatch: pytest.MonkeyPatch, stop: bool
) -> None:
    gateway_house.behave(SLOW, token_delay=0.05)
    serving = served(gateway_house, monkeypatch, settings={"http_stop": stop})
    async with asyncio.timeout(60), serving as port, gateway_client(at(port), None) as http:
        asked = (await http.post("/v1/queries", json={"question": f"Going? {stop}", "flow": "slow"})).json()
        async with http.stream("GET", asked["links"]["events"]) as stream:
            async for each in frames_of(stream):
                if each.get("event") == "token":
                    break
        found = (await http.get(asked["links"]["self"], params={"wait": 30})).json()

    assert found["state"] == ("cancelled" if stop else "succeeded")


async def test_standing_is_told_to_anybody_and_figures_to_who_may_read(
    gateway_house: GatewayHouse, alice: httpx2.AsyncClient
) -> None:
    wait_for(lambda: gateway_house.client.smembers(wire.WORKERS), within=30, what="the worker says that it lives")
    await asyncio.sleep(1.1)
    async with httpx2.AsyncClient(base_url=gateway_house.url) as http:
        open_to_all = {
            path: (await http.get(path)).status_code for path in ("/healthz", "/readyz", "/docs", "/openapi.json")
        }
        front = await http.get("/")
        closed = (await http.get("/metrics")).status_code
    figures = (await alice.get("/metrics")).text

    assert open_to_all == dict.fromkeys(open_to_all, 200)
    assert (front.status_code, front.headers["location"]) == (307, "docs")
    assert closed == 401
    assert "flywheel_up 1.0" in figures
    assert re.search(r'flywheel_http_requests_total\{api="native",status="401"\} \d', figures)
    assert 'flywheel_http_open{api="native"} 1.0' in figures


async def test_it_is_not_ready_without_workers_or_broker(
    gateway_house: GatewayHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"redis_url": gateway_house.broker.url.removesuffix("/0") + "/9"}
    async with served(gateway_house, monkeypatch, settings=given) as port, gateway_client(at(port), None) as http:
        # No worker reads that database.
        alone = await http.get("/readyz")
    given = {"redis_url": f"redis://127.0.0.1:{free_port()}/0"}
    async with served(gateway_house, monkeypatch, settings=given) as port, gateway_client(at(port), None) as http:
        away, refused = await http.get("/readyz"), await http.post("/v1/queries", json={"question": "?"})
        health = await http.get("/healthz")

    assert (alone.status_code, alone.json()["workers"]) == (503, "none")
    assert (away.status_code, away.json()["broker"]) == (503, "away")
    assert (refused.status_code, refused.json()["error"]["error_type"]) == (503, "BrokerUnavailable")
    assert int(refused.headers["retry-after"]) >= 1
    assert health.status_code == 200


async def test_a_stack_that_starts_later_is_found(
    gateway_house: GatewayHouse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path / "home", registry=gateway_house.registry)
    settings = settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}/0"})
    # As where nobody gave an address, and nobody is at the usual one.
    settings.model_fields_set.discard("redis_url")
    async with (
        served(gateway_house, monkeypatch, started_with=settings) as port,
        gateway_client(at(port), None) as http,
    ):
        before = await http.get("/v1/health")
        with claim(settings.home) as home:
            home.publish(StackInfo(redis_url=gateway_house.broker.url, flowise_url=gateway_house.flowise_url))
            noticing, after = await http.get("/v1/health"), await http.get("/v1/health")

    assert [each.status_code for each in (before, noticing, after)] == [503, 503, 200]


async def test_the_page_of_all_paths_needs_no_network(alice: httpx2.AsyncClient) -> None:
    page = await alice.get("/docs")
    api = (await alice.get("/openapi.json")).json()

    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.search(r"https?://|<script|<link|<img|@import|url\(", page.text)
    for path in api["paths"]:
        assert path in page.text


async def test_a_fault_of_ours_is_a_problem_with_an_id_and_no_detail(
    gateway_house: GatewayHouse, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> object:
        raise RuntimeError("the secret is 4711")

    monkeypatch.setattr("http_gateway.native.flows.flow_list", broken)
    async with served(gateway_house, monkeypatch) as port, httpx2.AsyncClient() as http:
        told = await http.get(f"http://127.0.0.1:{port}/v1/flows")

    assert (told.status_code, told.headers["content-type"]) == (500, "application/problem+json")
    assert told.json()["error"]["error_type"] == "RequestFailed"
    assert "4711" not in told.text
    assert told.json()["error"]["error_id"] in caplog.text


async def test_what_is_not_there_is_said_in_the_shape_of_the_api(alice: httpx2.AsyncClient) -> None:
    told = [await alice.get("/v1/nothing"), await alice.delete("/v1/flows"), await alice.get("/elsewhere")]

    assert [each.status_code for each in told] == [404, 405, 404]
    assert {each.json()["error"]["error_type"] for each in told} == {"NothingThere"}
    assert told[1].headers["allow"] == "GET, HEAD"


async def test_an_address_may_end_with_a_slash(alice: httpx2.AsyncClient, gateway_house: GatewayHouse) -> None:
    for path in ("//v1/models", "//api/v1/chatflows-streaming/auto", "//v1/flows"):
        told = await alice.get(f"{gateway_house.url}{path}")
        assert told.status_code == 200, told.text


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/healthz", "GET, HEAD"),
        ("/v1/queries", "GET, HEAD, POST"),
        ("/v1/dead-letters/" + "0" * 32, "DELETE, GET, HEAD"),
        ("/v1/sessions/one/profile", "GET, HEAD, PUT"),
        ("/v1/chat/completions", "POST"),
    ],
)
async def test_a_method_that_is_not_there_is_told_all_that_are(
    alice: httpx2.AsyncClient, path: str, allowed: str
) -> None:
    told = await alice.request("PATCH", path)

    assert (told.status_code, told.headers["allow"]) == (405, allowed)


async def test_head_says_what_get_says_without_its_body(alice: httpx2.AsyncClient, gateway_house: GatewayHouse) -> None:
    gateway_house.behave(SLOW, latency=5)
    asked = (await alice.post("/v1/queries", json={"question": "Only your head", "flow": "slow"})).json()
    paths = ["/healthz", "/readyz", "/docs", "/openapi.json", "/v1/queries", "/v1/models", "/api/v1/ping", "/v1/flows"]
    for path in paths:
        head, whole = await alice.head(path), await alice.get(path)

        assert (head.status_code, head.content) == (whole.status_code, b""), path
        assert head.headers["content-type"] == whole.headers["content-type"]
        assert head.headers["content-length"] == whole.headers["content-length"]
    async with asyncio.timeout(4):
        stream = await alice.head(asked["links"]["events"])
    none, wrong = await alice.head("/v1/queries/" + "0" * 32), await alice.head("/v1/chat/completions")
    after = await alice.get("/healthz")

    assert stream.headers["content-type"].startswith("text/event-stream")
    assert (none.status_code, wrong.status_code, wrong.headers["allow"], after.status_code) == (404, 405, "POST", 200)


def test_a_command_that_cannot_serve_says_why(gateway_house: GatewayHouse, capsys: pytest.CaptureFixture[str]) -> None:
    command = [str(Path(sys.executable).parent / "flywheel"), "serve", "--host", "192.0.2.1", "--port", "0"]
    env = {**os.environ, **gateway_house.env, "FLYWHEEL_MCP_TOKENS": TOKENS}
    ended = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, check=False)
    nowhere = main(["--folder", "/nowhere/at/all"])
    with pytest.raises(SystemExit):
        main(["--port", "70000"])
    said = capsys.readouterr().err

    assert (ended.returncode, nowhere) == (2, 2)
    assert "flywheel serve cannot listen there: 192.0.2.1:0" in ended.stderr
    assert "Choose another port" in ended.stderr
    assert "--folder" in said
    assert "65535" in said
