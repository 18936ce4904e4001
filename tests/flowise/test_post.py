"""Requests that are prepared once say what aiohttp's own would say, and end as they would end."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import http_writer
from pydantic import SecretStr

from agentic_flywheel.backends import post
from agentic_flywheel.backends.flowise import FlowiseClient
from agentic_flywheel.backends.models import FlowCall
from agentic_flywheel.backends.post import new_session
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowError

ANSWER = b'{"text":"yes","chatId":"c"}'
GOOD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER)

Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(autouse=True, params=["prepared", "plain"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Every test also runs with an aiohttp whose private parts are others, where plain requests are sent."""
    post.missing_part.cache_clear()
    if request.param == "plain":
        monkeypatch.setattr(post, "_head", None)
    yield request.param
    post.missing_part.cache_clear()


@asynccontextmanager
async def server(*parts: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Serve every request with the same bytes; the last part of none closes the connection."""
    heard: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                heard.append(head + await reader.readexactly(length))
                for part in parts:
                    if not part:
                        return
                    writer.write(part)
                    await writer.drain()
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1], heard


def flow() -> Flow:
    return Flow(key="f", id="3c1e0f1a-0000-4000-8000-000000000001", title="F", description="d", domain="d")


async def both(address: str, key: SecretStr | None, times: int = 1) -> list[object]:
    """Ask through a client's own session, then through a given one; an answer's text or the error of each."""
    outcomes: list[object] = []
    async with new_session() as session:
        for client in (FlowiseClient(address), FlowiseClient(address, session=session)):
            async with client:
                for _ in range(times):
                    try:
                        said = await client.predict(FlowCall(flow=flow(), question="Is it?"), api_key=key, timeout=2)
                        outcomes.append(said.text)
                    except FlowError as error:
                        outcomes.append((type(error), str(error), error.transient))
    return outcomes


def lines(request: bytes) -> tuple[bytes, list[bytes], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    first, *headers = head.split(b"\r\n")
    return first, sorted(headers), body


@pytest.mark.parametrize("key", [None, SecretStr("k-1")])
async def test_a_prepared_request_says_what_any_other_says(key: SecretStr | None) -> None:
    async with server(GOOD) as (port, heard):
        assert await both(f"http://127.0.0.1:{port}", key, times=2) == ["yes"] * 4
    assert len({str(lines(each)) for each in heard}) == 1
    assert (b"Authorization: Bearer k-1" in lines(heard[0])[1]) == (key is not None)


async def test_what_an_address_says_of_its_user_is_sent() -> None:
    async with server(GOOD) as (port, heard):
        assert await both(f"http://ada:pass@127.0.0.1:{port}", None) == ["yes"] * 2
    assert lines(heard[0]) == lines(heard[1])
    assert any(each.startswith(b"Authorization: Basic ") for each in lines(heard[0])[1])


@pytest.mark.parametrize(
    "parts",
    [
        [b""],
        [GOOD[:-5], b""],
        [b"no HTTP at all\r\n\r\n", b""],
        [b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"],
        [b"HTTP/1.1 503 Busy\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"],
        [b"HTTP/1.1 100 Continue\r\n\r\n", GOOD],
    ],
    ids=["nothing", "half", "garbage", "redirect", "busy", "continue"],
)
async def test_a_prepared_request_ends_as_any_other_ends(parts: list[bytes]) -> None:
    async with server(*parts) as (port, _):
        own, given = await both(f"http://127.0.0.1:{port}", None)
    assert own == given


async def test_where_nobody_listens_nothing_was_sent() -> None:
    async with server() as (port, _):
        pass
    own, given = await both(f"http://127.0.0.1:{port}", None)
    assert own == given
    assert own != "yes"


async def test_a_call_that_is_cut_leaves_no_connection_to_the_next() -> None:
    """A late answer to a request that was given up must not answer the next one."""
    async with server() as (port, heard), FlowiseClient(f"http://127.0.0.1:{port}") as client:
        for _ in range(2):
            with pytest.raises(FlowError):
                await client.predict(FlowCall(flow=flow(), question="Is it?"), timeout=0.1)
        connector = client._connection._opened("f").connector
        assert connector is not None
        assert not connector._conns
        assert not connector._acquired
    assert len(heard) == 2


def test_prepared_requests_are_used_where_the_private_parts_are_as_expected(kind: str) -> None:
    assert (post.missing_part() is None) == (kind == "prepared")


def another_form() -> None:
    """A function of another signature than what it replaces."""


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (aiohttp.ClientRequest, "__init__"),
        (aiohttp.BaseConnector, "connect"),
        (aiohttp.ClientResponse, "__init__"),
        (aiohttp.ClientResponse, "start"),
        (http_writer.StreamWriter, "_writelines"),
        (http_writer, "_serialize_headers"),
        (aiohttp.helpers, "TimerNoop"),
    ],
)
def test_a_part_of_another_form_is_noticed(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> None:
    post._no_timer.cache_clear()
    with monkeypatch.context() as changed:
        if name == "TimerNoop":
            changed.delattr(owner, name)
        else:
            changed.setattr(owner, name, another_form)
        assert post.missing_part() is not None
    post._no_timer.cache_clear()


@pytest.mark.parametrize("module", ["aiohttp.client_proto", "aiohttp.http_writer", "aiohttp.helpers"])
def test_a_module_that_is_gone_is_noticed_at_the_first_use_alone(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    with monkeypatch.context() as changed:
        changed.setitem(sys.modules, module, None)
        changed.delattr(aiohttp, module.rpartition(".")[2])
        importlib.reload(post)
        assert post.missing_part() is not None
    importlib.reload(post)
    assert post.missing_part() is None
