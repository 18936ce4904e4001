"""Bodies: nothing is read of one whose sender may not call, and none costs more than what it may hold."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import time
from typing import Any

import httpx2
import psutil
import pytest
from fastapi.routing import APIRoute, iter_route_contexts

from agentic_flywheel.errors import FlywheelError, InvalidQuery, RequestTooLarge
from agentic_flywheel.weighing import MOST_VALUES
from gateway.house import ALICE, GatewayHouse, gateway_client
from http_gateway.app import SURFACES, build_app
from http_gateway.gateway import Gateway
from http_gateway.json_body import read_json
from http_gateway.surfaces import surface_at

#: A body of 20 MB with some seven million values.
MANY = b"[" + b"[]," * 6_600_000 + b"0]"
BODIED = [
    ("POST", "/api/v1/feedback/auto"),
    ("PUT", "/api/v1/feedback/" + "0" * 32),
    ("POST", "/api/v1/leads/"),
    ("POST", "/api/v1/prediction/auto"),
    ("POST", "/api/v1/attachments/auto/chat"),
    ("POST", "/api/v1/vector/upsert/auto"),
    ("POST", "/v1/queries"),
    ("POST", "/v1/batches"),
    ("POST", "/v1/chat/completions"),
    ("PUT", "/v1/sessions/a/profile"),
]


async def answer_to_begun(port: int, method: str, path: str, kind: str, *, token: str = "") -> bytes:
    """Return what is answered to a request of whose 40 MB a quarter of a megabyte has come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: 40000000\r\n"
    writer.write(f"{head}Authorization: Bearer {token}\r\n\r\n".encode() if token else f"{head}\r\n".encode())
    writer.write(b" " * 2**18)
    try:
        return await reader.read(2000)
    finally:
        writer.close()


@pytest.mark.parametrize(("method", "path"), BODIED)
async def test_a_compressed_body_is_refused_for_what_it_is(alice: httpx2.AsyncClient, method: str, path: str) -> None:
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    told = await alice.request(method, path, content=gzip.compress(b'{"question": "x"}'), headers=headers)

    assert told.status_code in (400, 422), told.text
    assert "a body is taken as it is, not compressed" in told.text


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=b"])
@pytest.mark.parametrize(("method", "path"), BODIED)
async def test_who_has_no_token_is_told_so_before_the_body_comes(
    gateway_house: GatewayHouse, method: str, path: str, kind: str
) -> None:
    port = int(gateway_house.url.rpartition(":")[2])
    async with asyncio.timeout(10):
        told = await answer_to_begun(port, method, path, kind)

    assert told.startswith(b"HTTP/1.1 401 "), told


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_who_wants_the_connection_closed_is_told_why_a_large_body_is_refused(
    gateway_house: GatewayHouse, version: str
) -> None:
    """As Python's urllib does, and a proxy in front."""
    port, size = int(gateway_house.url.rpartition(":")[2]), 8 * 2**20
    head = f"POST /v1/queries HTTP/{version}\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n"

    def answer() -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            client.sendall(head.encode() + b"x" * size)
            return b"".join(iter(lambda: client.recv(2**16), b""))

    told = await asyncio.to_thread(answer)

    assert told.startswith(b"HTTP/1.1 401 "), told
    assert b"TokenNeeded" in told


@pytest.mark.parametrize("path", ["/api/v1/prediction/auto", "/api/v1/attachments/auto/chat", "/v1/queries"])
async def test_a_form_with_a_wrong_token_is_no_matter_of_files(gateway_house: GatewayHouse, path: str) -> None:
    async with gateway_client(gateway_house.url, "wrong") as http:
        told = await http.post(path, data={"question": "x"}, files={"file": ("a.txt", b"x")})

    assert told.status_code == 401, told.text


async def test_a_form_is_held_to_a_forms_bounds_only_where_one_is_received(gateway_house: GatewayHouse) -> None:
    port = int(gateway_house.url.rpartition(":")[2])
    async with asyncio.timeout(10):
        told = [
            await answer_to_begun(port, method, path, "multipart/form-data; boundary=b", token=ALICE)
            for method, path in (("POST", "/v1/batches"), ("POST", "/v1/route"), ("POST", "/v1/chat/completions"))
        ]

    assert {each[:12] for each in told} == {b"HTTP/1.1 413"}


def test_forms_are_expected_where_routes_receive_them_and_no_route_has_its_body_read_for_it(
    gateway_house: GatewayHouse,
) -> None:
    app = build_app(Gateway(gateway_house.settings))
    form = {
        path
        for path, methods in app.openapi()["paths"].items()
        for each in methods.values()
        if "multipart/form-data" in each.get("requestBody", {}).get("content", {})
    }
    expected = {
        path
        for path in app.openapi()["paths"]
        if (takes := surface_at(path, SURFACES).takes_form) and takes.fullmatch(path)
    }
    routes = [each.original_route for each in iter_route_contexts(app.routes)]

    assert form == expected
    assert len(routes) > 20
    # FastAPI would read it before it asks who calls.
    assert [each.path for each in routes if isinstance(each, APIRoute) and each.body_field is not None] == []


async def test_a_large_body_of_nobody_takes_no_time_and_no_memory(gateway_house: GatewayHouse) -> None:
    process = psutil.Process(gateway_house.doors[0].pid)
    before = process.memory_info().rss
    body = b'{"messageId": "x", "rating": "THUMBS_UP", "x": ' + MANY + b"}"
    begun = time.monotonic()
    async with gateway_client(gateway_house.url, None) as http:
        told = [await http.request(method, path, content=body) for method, path in BODIED[:4]]

    assert [each.status_code for each in told] == [401] * 4
    assert time.monotonic() - begun < 8
    assert process.memory_info().rss - before < 30 * 2**20


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/queries", b'{"question": "x", "metadata": {"a": [%b0]}}' % (b"[]," * 330_000)),
        ("/v1/batches", b'{"questions": %b}' % (b"[" + b"[]," * 1_300_000 + b"0]")),
        ("/api/v1/prediction/auto", b'{"question": "x", "history": [%b{}]}' % (b"{}," * 1_000_000)),
        ("/api/v1/prediction/auto", b'{"question": "x", "overrideConfig": {"a": [%b0]}}' % (b"[]," * 330_000)),
        ("/v1/chat/completions", b'{"model": "auto", "metadata": %b}' % MANY),
    ],
    ids=["metadata", "questions", "history", "config", "hint"],
)
async def test_a_body_of_many_values_keeps_nobody_waiting(
    gateway_house: GatewayHouse, alice: httpx2.AsyncClient, path: str, body: bytes
) -> None:
    asking = asyncio.create_task(alice.post(path, content=body, headers={"Content-Type": "application/json"}))
    longest = 0.0
    async with httpx2.AsyncClient(base_url=gateway_house.url, timeout=60) as other:
        while not asking.done():
            begun = time.monotonic()
            await other.get("/healthz")
            longest = max(longest, time.monotonic() - begun)
    told = await asking

    assert told.status_code in (400, 413, 422), told.text
    assert longest < 2
    assert "values" in told.text


async def test_what_the_questions_of_a_batch_share_is_bounded_for_all_of_them(alice: httpx2.AsyncClient) -> None:
    told = [
        await alice.post("/v1/batches", json={"questions": ["Why?"] * number, "metadata": {"a": [[]] * 10_000}})
        for number in (200, 2)
    ]

    assert [each.status_code for each in told] == [422, 202]
    assert "100,000" in told[0].json()["detail"]


async def test_the_bytes_of_a_conversation_are_bounded_beside_its_files(alice: httpx2.AsyncClient) -> None:
    part = {"type": "text", "text": "x" * 1000}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 2_000_000}}

    async def chat(content: list[Any]) -> httpx2.Response:
        body = {"model": "nobody", "messages": [{"role": "user", "content": content}]}
        return await alice.post("/v1/chat/completions", json=body)

    large, with_image = await chat([part] * 3000), await chat([part, image])
    history = [{"role": "userMessage", "content": "y" * 1000}] * 3000
    old = await alice.post("/api/v1/prediction/auto", json={"question": "x", "history": history})

    assert (large.status_code, large.json()["error"]["code"]) == (400, "context_length_exceeded"), large.text
    assert "at most 1,048,576 are accepted" in large.json()["error"]["message"]
    assert old.status_code == 413
    assert with_image.json()["error"]["code"] == "model_not_found", with_image.text


@pytest.mark.parametrize(
    "raw",
    [
        b"[" + b"0," * MOST_VALUES + b"0]",
        b'{"a":"' + b'\\"' * 9 + b'","b":[' + b'"",' * MOST_VALUES + b"0]}",
        b'{"a":"\\\\","b":[' + b"{}," * MOST_VALUES + b"0]}",
        b'"' * 2**22,
    ],
)
def test_values_are_counted_outside_texts(raw: bytes) -> None:
    with pytest.raises(InvalidQuery, match="values"):
        read_json(raw)


@pytest.mark.parametrize("text", ["[,{" * MOST_VALUES, '\\"[,' * MOST_VALUES, "é\\\\" * MOST_VALUES])
def test_what_stands_in_a_text_is_no_value(text: str) -> None:
    assert read_json(json.dumps({"a": text})) == {"a": text}


@pytest.mark.parametrize("raw", ['["x"]'.encode("utf-16"), '["x"]'.encode("utf-32-be"), b'["\xff"]', b"", b"[", b"NaN"])
def test_what_is_no_json_in_utf_8_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidQuery):
        read_json(raw)


def test_a_key_that_is_given_twice_is_refused_by_name() -> None:
    with pytest.raises(InvalidQuery, match="form: the key 'amount' is given twice"):
        read_json('{"amount": 1, "kind": "meal", "amount": 2}', name="form")


def test_a_mark_at_the_beginning_is_no_part_of_the_json() -> None:
    assert read_json(b"\xef\xbb\xbf[1]") == [1]


def test_the_contents_of_files_do_not_count() -> None:
    held = json.dumps({"a": "data:" + "x" * 500, "b": "y" * 200}).encode()

    assert read_json(held, most=300) == json.loads(held)
    assert read_json(held, most=100, content=150) == json.loads(held)
    with pytest.raises(RequestTooLarge):
        read_json(held, most=100)


def test_half_a_character_is_named_where_it_stands() -> None:
    assert read_json(b'["\\ud83d\\ude00"]') == ["😀"]
    with pytest.raises(FlywheelError, match=r"b\.0: U\+D800"):
        read_json(b'{"b": ["\\ud800"]}')


@pytest.mark.parametrize(
    ("method", "path", "content", "kind", "said"),
    [
        (
            "POST",
            "/v1/chat/completions",
            '{"model": "auto", "metadata": "\\ud800"}',
            "InvalidQuery",
            "metadata: U+D800",
        ),
        ("GET", f"/v1/queries/{'0' * 32}?wait=nan", "", "InvalidRequest", "wait: it should be a finite number"),
        ("GET", "/v1/queries?limit=0", "", "InvalidRequest", "limit: "),
        (
            "GET",
            "/v1/queries?stat=failed",
            "",
            "InvalidRequest",
            "stat: there is no parameter of this name; ",
        ),
        ("POST", "/v1/queries?Wait=5", '{"question": "x"}', "InvalidRequest", "Wait: there is no parameter"),
        ("POST", "/v1/route?x=", '{"question": "x"}', "InvalidRequest", "x: there is no parameter of this name"),
        ("GET", "/v1/queries?cursor=x", "", "InvalidRequest", "cursor: "),
        ("GET", "/v1/queries/-no", "", "InvalidRequest", "query_id: it does not have the form"),
        ("GET", "/api/v1/chatmessage/auto", "", "InvalidRequest", "chatId: it should name the chat"),
        ("POST", "/api/v1/feedback/auto", '{"messageId"', "InvalidQuery", "body: it should be JSON"),
        (
            "POST",
            f"/v1/queries/{'0' * 32}/scores",
            '{"value": null}',
            "InvalidQuery",
            "value: it should be a number, true",
        ),
        ("POST", "/v1/queries", '{"question": "x", "uploads": ["ftp://x/a.png"]}', "InvalidQuery", "begins with http"),
        ("POST", "/v1/queries", '{"question": "x", "extra": 1}', "InvalidQuery", "extra: there is no field"),
        ("POST", "/v1/batches", '{"questions": []}', "InvalidQuery", "questions: it should have at least 1 entries"),
    ],
)
async def test_a_refusal_says_what_is_wrong_in_words_of_json(
    alice: httpx2.AsyncClient, method: str, path: str, content: str, kind: str, said: str
) -> None:
    told = await alice.request(method, path, content=content, headers={"Content-Type": "application/json"})

    assert told.status_code in (400, 422)
    shown = told.json()["error"]["message"] if "chat/" in path else told.json().get("detail") or told.json()["message"]
    assert said in shown
    assert "^" not in shown
    assert "Tuple" not in shown
    if "chat/" not in path:
        assert (told.json().get("error") or told.json()["details"])["error_type"] == kind
    if kind == "InvalidRequest":
        assert "32,000" not in told.text
