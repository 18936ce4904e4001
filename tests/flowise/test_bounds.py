"""A flow is not trusted: whatever a server sends, a call of it ends, with its name, in time and in little memory."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator
from functools import cache
from random import Random

import pytest

from agentic_flywheel.backends.flowise import FlowiseClient
from agentic_flywheel.backends.models import FlowAnswer, FlowCall
from agentic_flywheel.backends.post import new_session
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import AnswerTooLong, FlowError, FlowFailed, FlowProtocolError, FlowTimeout
from workers.retry import decide

MB = 1 << 20
FLOW = Flow(key="f", id="3c1e0f1a-0000-4000-8000-000000000001", domain="d")
PLAIN, STREAM = "application/json", "text/event-stream"
TOKEN = b'message:\ndata:{"event":"token","data":"x"}\n\n'


@cache
def packed(first: bytes, filling: bytes, megabytes: int, last: bytes = b"") -> bytes:
    """Return a few bytes that unpack to megabytes."""
    pack = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    parts = [pack.compress(first), *(pack.compress(filling * (MB // len(filling))) for _ in range(megabytes))]
    return b"".join([*parts, pack.compress(last), pack.flush()])


@contextlib.asynccontextmanager
async def server(
    kind: str, body: Iterable[bytes], *, status: str = "200 OK", encoding: str = "", pause: float = 0.0
) -> AsyncIterator[str]:
    """Answer every request with this body, a part at a time. How long it is, is told of a packed one only."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            coded = f"Content-Encoding: {encoding}\r\nContent-Length: {len(next(iter(body)))}\r\n" if encoding else ""
            writer.write(f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{coded}Connection: close\r\n\r\n".encode())
            for part in body:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause)
            writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


async def asked(
    address: str, *, given: bool = False, timeout: float | None = None, idle_timeout: float | None = None
) -> FlowAnswer:
    """Ask the server, through a client's own session or through a given one."""
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(new_session()) if given else None
        client = await stack.enter_async_context(FlowiseClient(address, session=session))
        asking = client.predict(FlowCall(flow=FLOW, question="?"), timeout=timeout, idle_timeout=idle_timeout)
        return await asyncio.wait_for(asking, 60)


@pytest.fixture
def bomb(request: pytest.FixtureRequest) -> bytes:
    """What is packed, before memory is measured: that makes packing ten times as slow."""
    return packed(*request.param)


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Bounds of a megabyte, and a test that fails where much more was taken."""
    for name in ("connection.MAX_ANSWER", "frames.MAX_FRAME", "frames.MAX_STREAM", "joined_text.MAX_TEXT"):
        monkeypatch.setattr(f"agentic_flywheel.backends.{name}", MB)
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 24 * MB


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize(
    ("kind", "status", "bomb"),
    [
        (PLAIN, "200 OK", (b'{"chatId":"c","text":"', b"x", 100, b'"}')),
        (PLAIN, "500 Failed", (b'{"message":"', b"x", 100, b'"}')),
        ("text/html", "404 Gone", (b"<html>", b"x", 100)),
        (STREAM, "200 OK", (b"message:\ndata:", b"x", 100)),
        (STREAM, "200 OK", (b"", TOKEN, 100)),
        (STREAM, "200 OK", (b"", b":heartbeat\n\n", 100)),
    ],
    ids=["answer", "error", "page", "line", "tokens", "heartbeats"],
    indirect=["bomb"],
)
async def test_packed_gigabytes_are_not_unpacked(
    bomb: bytes, little_memory: None, kind: str, status: str, given: bool
) -> None:
    async with server(kind, [bomb], status=status, encoding="gzip") as address:
        with pytest.raises(FlowProtocolError):
            await asked(address, given=given)


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        (PLAIN, itertools.chain([b'{"text":"'], itertools.repeat(b"x" * 65536))),
        (STREAM, itertools.chain([b"data:"], itertools.repeat(b"x" * 65536))),
        (STREAM, itertools.repeat(TOKEN * 1000)),
        (STREAM, itertools.repeat(b":heartbeat\n\n" * 1000)),
        (STREAM, itertools.repeat(b"\n" * 65536)),
        (STREAM, itertools.repeat(b"data:\n" * 10000)),
    ],
    ids=["body", "line", "tokens", "heartbeats", "nothing", "lines"],
)
async def test_what_has_no_end_is_cut(little_memory: None, kind: str, parts: Iterable[bytes]) -> None:
    async with server(kind, parts) as address:
        with pytest.raises(AnswerTooLong, match=r"larger than|longer than") as cut:
            await asked(address)
    # It would tell as much again.
    assert decide(cut.value, 1, FLOW, Random(0)).action == "fail"
    assert decide(cut.value, 1, FLOW.model_copy(update={"fallback": "g"}), Random(0)).action == "fallback"


async def test_the_lines_of_a_stream_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentic_flywheel.backends.frames.MAX_LINES", 1000)

    async with server(STREAM, itertools.repeat(TOKEN)) as address:
        with pytest.raises(FlowProtocolError, match="1,000 lines"):
            await asked(address)


@pytest.mark.parametrize(("kind", "frame"), [(PLAIN, b"%b"), (STREAM, b'data:{"event":"token","data":%b}\n\n')])
async def test_millions_of_tiny_values_are_not_built(monkeypatch: pytest.MonkeyPatch, kind: str, frame: bytes) -> None:
    monkeypatch.setattr("agentic_flywheel.backends.decoding.MAX_VALUES", 10_000)

    async with server(kind, [frame % (b"[" + b"[]," * 20_000 + b"[]]")]) as address:
        with pytest.raises(FlowProtocolError):
            await asked(address)


@pytest.mark.parametrize("kind", [PLAIN, STREAM])
async def test_a_body_that_drips_is_cut_by_the_time_of_the_whole(kind: str) -> None:
    async with server(kind, itertools.repeat(b" "), pause=0.02) as address:
        with pytest.raises(FlowTimeout, match=r"within 0\.3 s"):
            await asked(address, timeout=0.3, idle_timeout=5)


@pytest.mark.parametrize("kind", [PLAIN, STREAM])
@pytest.mark.parametrize("status", ["200 OK", "500 Failed"])
async def test_a_body_that_stops_is_cut_by_its_silence(kind: str, status: str) -> None:
    async with server(kind, [b'{"text":', b""], pause=30, status=status) as address:
        with pytest.raises(FlowTimeout, match=r"silent amid its answer, for 0\.3 s"):
            await asked(address, timeout=20, idle_timeout=0.3)


@pytest.mark.parametrize("given", [False, True])
async def test_an_honest_packed_answer_is_read(given: bool) -> None:
    body = gzip.compress(json.dumps({"chatId": "c", "text": "yes"}).encode())
    async with server(PLAIN, [body], encoding="gzip") as address:
        assert (await asked(address, given=given)).text == "yes"


async def test_of_a_long_error_the_message_is_not_lost_where_it_ends_in_time() -> None:
    told = json.dumps({"message": "Error: x.y - it is broken", "stack": "s" * 200_000}).encode()
    async with server(PLAIN, [told], status="500 Failed") as address:
        with pytest.raises(FlowFailed, match="it is broken"):
            await asked(address)


async def test_a_call_that_was_cut_is_an_error_with_a_name_for_every_kind() -> None:
    async with server(PLAIN, [b"\xff" * 100], encoding="gzip") as address:
        with pytest.raises(FlowError):
            await asked(address)
