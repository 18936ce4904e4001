"""Calls gathered into pipelines: replies reach their callers, whichever way redis-py lets them be read."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bad_broker import refuses, says, serving
from processes import Valkey
from redis._parsers.base import BaseParser
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from agentic_flywheel.broker import exchange
from agentic_flywheel.broker.batch import Batch, connect
from agentic_flywheel.broker.refusals import REFUSALS, UNKNOWN, Refusal, refusal_of
from agentic_flywheel.errors import BrokerRefused, BrokerUnavailable, InvalidQuery


class WithoutParser:
    """A connection of a redis-py that has no such parser."""

    def __init__(self, connection: AbstractConnection) -> None:
        self.read_response = connection.read_response


class WithoutStream:
    """A connection of a redis-py that has no such stream."""

    def __init__(self, connection: AbstractConnection) -> None:
        self.send_packed_command = connection.send_packed_command


@pytest.fixture(params=["as it is", "no parser", "no stream"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "no parser":
        read = exchange._reply_reader
        monkeypatch.setattr(exchange, "_reply_reader", lambda connection: read(WithoutParser(connection)))  # type: ignore[arg-type]
    if request.param == "no stream":
        write = exchange.write
        monkeypatch.setattr(exchange, "write", lambda connection, packed: write(WithoutStream(connection), packed))  # type: ignore[arg-type]


@pytest.mark.usefixtures("reader")
async def test_each_caller_gets_its_reply_and_a_refusal_is_that_callers_alone(
    batch: Batch, redis_client: Redis
) -> None:
    found = await asyncio.gather(
        batch.call("SET", "a", "1"),
        batch.call("HGET", "a", "field"),
        batch.call("GET", "a"),
        batch.call("LRANGE", "none", 0, -1),
        return_exceptions=True,
    )

    assert isinstance(found[1], BrokerRefused)
    assert (found[0], found[2], found[3]) == ("OK", "1", [])


async def until_ended(batch: Batch) -> None:
    """Wait until this process knows that its idle connection was closed."""
    connection = batch._connection
    assert connection is not None
    async with asyncio.timeout(10):
        while not await exchange.has_ended(connection):
            await asyncio.sleep(0.01)


@pytest.mark.usefixtures("reader")
async def test_a_value_that_is_not_utf_8_costs_its_own_call_alone(batch: Batch, redis_client: Redis) -> None:
    for key in ("alone", "among"):
        await redis_client.rpush(key, b"\xff\xfe", "well")
    found = await asyncio.gather(
        batch.call("SET", "a", "1"),
        batch.call("LINDEX", "alone", 0),
        batch.call("GET", "a"),
        batch.call("LRANGE", "among", 0, -1),
        batch.call("LRANGE", "none", 0, -1),
        return_exceptions=True,
    )

    assert (found[0], found[2], found[4]) == ("OK", "1", [])
    for damaged in (found[1], found[3]):
        assert isinstance(damaged, BrokerRefused)
        assert "(UNDECODABLE): what it holds there is not UTF-8" in damaged.message
    assert await batch.call("LINDEX", "among", 1) == "well"  # over the same connection, in its order


@pytest.mark.usefixtures("reader")
async def test_a_connection_that_was_closed_while_it_was_idle_costs_no_call(batch: Batch, redis_client: Redis) -> None:
    assert await batch.call("SET", "a", "1") == "OK"
    mine = await batch.call("CLIENT", "ID")
    await redis_client.client_kill_filter(_id=mine)
    await until_ended(batch)

    assert await batch.call("GET", "a") == "1"
    assert await batch.call("CLIENT", "ID") != mine


async def test_a_connection_that_a_proxy_has_reset_costs_no_call() -> None:
    connections = list[asyncio.StreamWriter]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        while await reader.read(1000):
            writer.write(b"+OK\r\n")

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    batch = Batch(connect(f"redis://127.0.0.1:{port}", protocol=2))
    assert await batch.call("PING") == "OK"
    first = connections[-1].get_extra_info("socket")
    first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connections[-1].transport.abort()
    await until_ended(batch)

    assert await batch.call("PING") == "OK"
    assert len(connections) == 2
    await batch.close()
    server.close()


@pytest.fixture
async def patient(redis_client: Redis) -> AsyncIterator[Batch]:
    batch = Batch(redis_client, patience=timedelta(seconds=20))
    yield batch
    await redis_client.config_set("maxmemory", 0)


async def test_a_call_that_cannot_be_written_is_its_callers_fault_alone(batch: Batch) -> None:
    found = await asyncio.gather(batch.call("SET", "a", "\ud83d"), batch.call("SET", "b", "1"), return_exceptions=True)

    assert isinstance(found[0], InvalidQuery)
    assert found[1] == "OK"


async def test_a_refusal_that_passes_is_waited_out_and_others_go_on(patient: Batch, redis_client: Redis) -> None:
    await redis_client.config_set("maxmemory", 1)
    writing = asyncio.create_task(patient.call("SET", "a", "1"))
    await asyncio.sleep(0.3)

    assert await patient.call("GET", "a") is None
    assert not writing.done()
    await redis_client.config_set("maxmemory", 0)
    assert await writing == "OK"


async def test_without_patience_a_refusal_has_its_class_and_its_reason(batch: Batch, redis_client: Redis) -> None:
    await redis_client.config_set("maxmemory", 1)
    try:
        with pytest.raises(BrokerUnavailable, match="memory is full"):
            await batch.call("SET", "a", "1")
    finally:
        await redis_client.config_set("maxmemory", 0)
    with pytest.raises(BrokerRefused, match="WRONGTYPE"):
        await batch.call("SET", "a", "1") and await batch.call("LPUSH", "a", "1")
    with pytest.raises(BrokerRefused, match="unknown command"):
        await batch.call("MELT")


async def test_a_refused_password_is_told_also_where_later_attempts_have_no_answer() -> None:
    refused, silent = refuses("WRONGPASS invalid", at_once=False), says(None)
    commands = list[bytes]()

    def answer(command: list[bytes]) -> bytes | None:
        commands.append(command[0].upper())
        return (silent if b"PING" in commands[:-1] else refused)(command)

    async with serving(answer) as url:
        batch = Batch(connect(url, timeout=timedelta(seconds=0.3)), patience=timedelta(seconds=1))
        with pytest.raises(BrokerRefused) as told:
            await batch.call("PING")
        await batch.close()

    assert told.value.code == "WRONGPASS"
    assert commands.count(b"HELLO") > 1


async def test_one_attempt_to_connect_serves_all_calls_that_wait(tmp_path: Path) -> None:
    server = Valkey(tmp_path)
    client = connect(server.url)
    batch = Batch(client, patience=timedelta(seconds=30))
    tried = 0
    exchange = batch._exchange

    async def counted(commands: list[bytes]) -> list[Any]:
        nonlocal tried
        tried += 1
        return await exchange(commands)

    batch._exchange = counted  # type: ignore[method-assign]
    calls = [asyncio.create_task(batch.call("INCR", "n")) for _ in range(300)]
    await asyncio.sleep(1.5)
    impatient = await asyncio.gather(batch.call("PING", patience=0), return_exceptions=True)
    attempts = tried

    server.start()
    try:
        assert sorted(await asyncio.gather(*calls)) == list(range(1, 301))
    finally:
        server.stop()
    assert isinstance(impatient[0], BrokerUnavailable)
    assert attempts <= 12


def refused_with(line: str) -> Exception:
    """Return the error that redis-py makes of a server's line."""
    error: Exception = BaseParser.parse_error(line)  # type: ignore[no-untyped-call]
    return error


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.code)
def test_every_refusal_is_known_by_what_the_server_says(refusal: Refusal) -> None:
    said = refused_with(f"{refusal.code} the rest of the sentence")

    assert refusal_of(said) is refusal


def test_what_is_no_refusal_is_no_answer() -> None:
    assert refusal_of(RedisConnectionError("reset by peer")) is None
    assert refusal_of(TimeoutError()) is None
    assert refusal_of(ResponseError("ERR unknown command 'MELT'")) is UNKNOWN
    too_many = refusal_of(refused_with("ERR max number of clients reached"))
    assert too_many is not None
    assert too_many.code == "MAXCLIENTS"
