"""Calls gathered into pipelines: replies reach their callers, whichever way redis-py lets them be read."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import uvloop
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


@pytest.fixture(params=["as it is", "no stream"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replies are read in both ways; "no stream" is a redis-py that has none."""
    if request.param == "no stream":
        monkeypatch.setattr(exchange, "line_over", exchange._TaskLine)


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
    async with asyncio.timeout(30):
        while batch._connection.line is not None:
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
        while received := await reader.read(1000):
            writer.write(b"+OK\r\n" * received.count(b"*"))  # one for each command, of which several may come at once

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


@pytest.mark.usefixtures("reader")
async def test_a_reply_that_does_not_come_in_time_is_missed_and_the_next_call_is_answered() -> None:
    heard = list[bytes]()

    def answer(command: list[bytes]) -> bytes | None:
        heard.append(command[0])
        return None if heard.count(b"PING") == 1 and command[0] == b"PING" else usual(command)

    usual = says(b"+PONG\r\n", at_once=False)
    async with serving(answer) as url:
        batch = Batch(connect(url, timeout=timedelta(seconds=0.3)))
        with pytest.raises(BrokerUnavailable):
            await batch.call("PING")
        assert await batch.call("PING") == "PONG"
        await asyncio.sleep(0.4)  # longer than a reply may take: nothing is overdue while nothing is asked
        assert await batch.call("PING") == "PONG"
        await batch.close()

    assert heard.count(b"HELLO") == 2


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (b"-ERR max number of clients reached\r\n", BrokerUnavailable),
        (b"?what is this\r\n", BrokerRefused),
        (b"+PONG\r\n+PONG\r\n", None),
        (b">2\r\n+news\r\n+of others\r\n+PONG\r\n", None),
    ],
    ids=["a refused connection", "no reply at all", "one reply too many", "news before it"],
)
async def test_what_comes_beside_replies_is_told_from_them(reply: bytes, code: type[Exception] | None) -> None:
    async with serving(says(reply, at_once=False)) as url:
        batch = Batch(connect(url))
        for _ in range(3):
            if code is None:
                assert await batch.call("PING") == "PONG"
            else:
                with pytest.raises(code):
                    await batch.call("PING")
        await batch.close()


async def test_a_batch_that_nobody_holds_closes_its_connection(broker_url: str, redis_client: Redis) -> None:
    batch = Batch(connect(broker_url))
    mine = await batch.call("CLIENT", "ID")
    del batch
    gc.collect()

    async with asyncio.timeout(30):
        while any(int(each["id"]) == mine for each in await redis_client.client_list()):
            await asyncio.sleep(0.01)


async def test_closing_waits_for_replies_and_fails_what_cannot_be_sent(broker_url: str) -> None:
    answered = Batch(connect(broker_url))
    under_way = asyncio.create_task(answered.call("PING"))
    await asyncio.sleep(0)
    away = Batch(connect("redis://127.0.0.1:1"), patience=timedelta(seconds=60))
    waiting = asyncio.create_task(away.call("PING"))
    await asyncio.sleep(0)
    await asyncio.gather(answered.close(), away.close())

    assert await under_way == "PONG"
    with pytest.raises(BrokerUnavailable, match="closed"):
        await waiting


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
    connected = batch._connection.open

    async def counted(loop: asyncio.AbstractEventLoop) -> None:
        nonlocal tried
        tried += 1
        await connected(loop)

    batch._connection.open = counted  # type: ignore[method-assign]
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


def test_a_refusal_without_its_code_is_known_by_its_text() -> None:
    told = {
        "ACL failure in script: no permissions to access a key": "NOPERM",
        "The user executing the script can't access at least one of the keys mentioned": "NOPERM",
        "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate": "CERTIFICATE",
        "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: Hostname mismatch, certificate is not": "HOSTNAME",
        "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired": "EXPIRED",
        "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required": "CLIENT",
        "[SSL: SSLV3_ALERT_CERTIFICATE_UNKNOWN] sslv3 alert certificate unknown": "CLIENT",
    }

    known = {text: refusal_of(RedisConnectionError(text)) for text in told}

    assert {text: refusal and refusal.code for text, refusal in known.items()} == told


def test_what_is_no_refusal_is_no_answer() -> None:
    assert refusal_of(RedisConnectionError("reset by peer")) is None
    assert refusal_of(TimeoutError()) is None
    assert refusal_of(ResponseError("ERR unknown command 'MELT'")) is UNKNOWN
    too_many = refusal_of(refused_with("ERR max number of clients reached"))
    assert too_many is not None
    assert too_many.code == "MAXCLIENTS"


def test_a_connection_that_is_found_closed_while_one_writes_is_lost_and_is_no_fault(
    valkey: Valkey,
) -> None:
    async def lose() -> None:
        batch = Batch(connect(valkey.url))
        assert await batch.call("PING") == "PONG"
        assert batch._connection._connection is not None
        _close(batch._connection._connection)
        assert await batch.call("PING") == "PONG"
        await batch.close()

        async with connect(valkey.url) as client, client.pubsub() as channel:
            await channel.subscribe("one")
            assert channel.connection is not None
            _close(channel.connection)
            with pytest.raises((RedisConnectionError, OSError)):
                await channel.connection.send_packed_command(b"PING\r\n", check_health=False)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # which says RuntimeError then
        runner.run(lose())


async def test_a_call_under_way_is_told_where_another_is_made_just_as_their_connection_closes() -> None:
    async with serving(says(None, at_once=False)) as url:
        batch = Batch(connect(url, timeout=timedelta(seconds=1)))
        first = asyncio.create_task(batch.call("PING"))
        async with asyncio.timeout(30):
            while not batch._sent:
                await asyncio.sleep(0.01)
        second = asyncio.create_task(batch.call("PING"))
        assert batch._connection._connection is not None
        _close(batch._connection._connection)  # of which the line is told after the second call was made
        async with asyncio.timeout(30):
            found = await asyncio.gather(first, second, return_exceptions=True)
        await batch.close()

    assert [type(each) for each in found] == [BrokerUnavailable, BrokerUnavailable]


def _close(connection: AbstractConnection) -> None:
    writer = connection._writer
    assert writer is not None
    writer.transport.abort()
