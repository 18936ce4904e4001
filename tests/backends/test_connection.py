"""What every connection does alike: a server's headers, its authorities, and the proxies that the environment names."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr
from tls import tls_before
from yarl import URL

from agentic_flywheel.backends.connection import Connection
from agentic_flywheel.backends.openai.failure import failure_of
from agentic_flywheel.errors import FlowError, FlowProtocolError, FlowUnauthorized, ServerUnreachable
from backends.scenes import Scene, serving

OK = Scene([b"{}"])
#: Instead of what is in a file: it is a pipe.
PIPE = "|"
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "all_proxy", "ALL_PROXY")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


@contextlib.asynccontextmanager
async def connection(headers: dict[str, str] | None = None, *, ca_file: str | None = None) -> AsyncIterator[Connection]:
    opened = Connection(failure_of, headers=headers or {}, ca_file=ca_file)
    try:
        yield opened
    finally:
        await opened.close()


async def test_a_servers_headers_go_with_every_request_with_what_their_variables_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEAM_TOKEN", "t0p-s3cret")
    async with serving(OK) as server, connection({"X-Team": "of ${TEAM_TOKEN}", "X-Plain": "here"}) as opened:
        url = URL(server.address)
        await opened.fetch("GET", url)
        for _ in range(2):  # the second one is prepared
            await opened.fetch("POST", url, api_key=SecretStr("k"), body=b"{}")

    assert [each.headers["x-team"] for each in server.asked] == ["of t0p-s3cret"] * 3
    assert [each.headers["x-plain"] for each in server.asked] == ["here"] * 3
    assert [each.headers.get("authorization") for each in server.asked] == [None, "Bearer k", "Bearer k"]


async def test_a_key_goes_in_the_header_that_its_server_reads() -> None:
    async with serving(OK) as server:
        opened = Connection(failure_of, headers={"X-Plain": "here"}, key_header="X-Api-Key")
        url = URL(server.address).with_user("ada").with_password("pw")
        for _ in range(2):
            await opened.fetch("POST", url, api_key=SecretStr("k"), body=b"{}")
        with pytest.raises(FlowUnauthorized, match="no header can carry"):
            await opened.fetch("GET", url, api_key=SecretStr("k\r\nX-Other: 1"))
        await opened.close()

    assert [each.headers["x-api-key"] for each in server.asked] == ["k", "k"]
    assert [each.headers["authorization"] for each in server.asked] == ["Basic YWRhOnB3"] * 2


async def test_what_a_header_holds_is_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAM_TOKEN", "t0p-s3cret")
    refusal = Scene([b'{"error": {"message": "t0p-s3cret is no member"}}'], status=400)
    async with serving(refusal) as server, connection({"X-Team": "${TEAM_TOKEN}"}) as opened:
        with pytest.raises(FlowError, match=r"\*\*\* is no member"):
            await opened.fetch("GET", URL(server.address))


@pytest.mark.parametrize(
    ("headers", "value", "words"),
    [
        ({"X-Team": "${TEAM_TOKEN}"}, None, "TEAM_TOKEN"),
        (
            {"X-Team": "${TEAM_TOKEN}"},
            "two\r\nX-Other: 1",
            "header X-Team holds a character that no header",
        ),
        ({"authorization": "Basic x"}, None, "its server's headers have an Authorization, and an API key is set too"),
    ],
)
async def test_what_cannot_be_sent_is_named_and_not_sent(
    headers: dict[str, str], value: str | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is not None:
        monkeypatch.setenv("TEAM_TOKEN", value)
    async with serving(OK) as server, connection(headers) as opened:
        with pytest.raises(FlowUnauthorized, match=words):
            await opened.fetch("GET", URL(server.address), api_key=SecretStr("k"))

    assert server.asked == []


@pytest.mark.parametrize(
    ("raw", "kind", "words"),
    [
        (b"", ServerUnreachable, "it closed the connection before it had answered"),
        (
            b"HTTP/1.1 200 OK\r\nSet-Cookie: s3cret",
            ServerUnreachable,
            "it closed the connection before it had answered",
        ),
        (b"SSH-2.0-s3cret\r\n", FlowProtocolError, "what it sends cannot be read as HTTP: Bad status line"),
        (b"HTTP/1.1 200 OK\r\nS 3cret: s3cret\r\n\r\n", FlowProtocolError, "as HTTP: Invalid header token"),
    ],
)
async def test_what_is_no_http_is_named_in_words_and_not_quoted(raw: bytes, kind: type[FlowError], words: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening, connection() as opened:
        url = URL(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
        for body in (None, b"{}"):
            with pytest.raises(kind, match=words) as failed:
                await opened.fetch("POST", url, body=body)

            assert "s3cret" not in failed.value.message
            assert len(failed.value.message) < 160


async def test_an_authority_that_a_file_names_is_trusted(tmp_path: Path) -> None:
    async with serving(OK) as server, tls_before(urlsplit(server.address).port or 0, tmp_path) as port:
        url = URL(f"https://127.0.0.1:{port}")
        async with connection(ca_file=str(tmp_path / "ca.pem")) as trusting:
            assert await trusting.fetch("GET", url) == b"{}"
        async with connection() as other:
            with pytest.raises(ServerUnreachable, match="its certificate is not accepted: unable to get") as unknown:
                await other.fetch("GET", url)

    assert not unknown.value.sent


async def test_a_server_to_which_tls_is_spoken_and_that_speaks_none_is_named() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening, connection() as opened:
        at = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        with pytest.raises(ServerUnreachable, match=f"{at} speaks no TLS: its address begins with http://"):
            await opened.fetch("GET", URL(f"https://{at}"))


@pytest.mark.parametrize(
    ("content", "words"), [(None, "No such file"), ("nonsense", "cannot be read"), (PIPE, "not a regular file")]
)
async def test_a_file_of_authorities_that_cannot_be_read_is_named(
    content: str | None, words: str, tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    if content == PIPE:
        os.mkfifo(file)
    elif content is not None:
        file.write_text(content)
    async with connection(ca_file=str(file)) as opened:
        with pytest.raises(ServerUnreachable, match=words) as unread:
            await opened.fetch("GET", URL("https://127.0.0.1:1"))

    assert not unread.value.sent
    assert "file of authorities" in unread.value.message


async def test_a_proxy_of_the_environment_is_asked_with_its_login(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(OK) as proxy, connection() as opened:
        monkeypatch.setenv("http_proxy", proxy.address.replace("://", "://ada:pass@"))
        await opened.fetch("POST", URL("http://flows.example:3000/v1"), api_key=SecretStr("k"), body=b"{}")

    (asked,) = proxy.asked
    assert (asked.method, asked.path) == ("POST", "http://flows.example:3000/v1")
    assert asked.headers["proxy-authorization"] == "Basic YWRhOnBhc3M="
    assert asked.headers["authorization"] == "Bearer k"


@pytest.mark.parametrize("never", ["this machine", "NO_PROXY"])
async def test_a_proxy_is_passed_by_where_it_should_be(never: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(OK) as server, serving(OK) as proxy, connection() as opened:
        monkeypatch.setenv("http_proxy", proxy.address)
        if never == "NO_PROXY":
            monkeypatch.setenv("no_proxy", "nowhere.invalid")
            with pytest.raises(ServerUnreachable, match=r"nowhere\.invalid"):
                await opened.fetch("GET", URL("http://nowhere.invalid:1"))
        else:
            await opened.fetch("GET", URL(server.address))

    assert proxy.asked == []


async def test_a_proxy_that_refuses_is_named_and_nothing_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Login\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as listening, connection() as opened:
        port = listening.sockets[0].getsockname()[1]
        monkeypatch.setenv("https_proxy", f"127.0.0.1:{port}")
        with pytest.raises(ServerUnreachable, match="the proxy answered with status 407") as refused:
            await opened.fetch("GET", URL("https://flows.example"))

    assert not refused.value.sent


async def test_a_proxy_of_another_kind_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1080")
    async with connection() as opened:
        with pytest.raises(ServerUnreachable, match="names a proxy of the kind socks5"):
            await opened.fetch("GET", URL("http://flows.example"))
