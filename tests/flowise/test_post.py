"""Requests that are prepared once say what aiohttp's own would say, and end as they would end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr

from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowError
from agentic_flywheel.flowise import FlowCall, FlowiseClient
from agentic_flywheel.flowise.connection import new_session

ANSWER = b'{"text":"yes","chatId":"c"}'
GOOD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER)

Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]


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
        connector = client._connection._opened().connector
        assert connector is not None
        assert not connector._conns
        assert not connector._acquired
    assert len(heard) == 2
