"""Send packed commands over a connection of redis-py and read their replies. Its private parts are used here alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError


def descriptor_of(connection: AbstractConnection | None) -> int | None:
    """Return a connection's file descriptor; None where it is not connected.

    The stream is a private part of redis-py (checked with 8.1). Without it the answer is None.
    """
    writer = getattr(connection, "_writer", None)
    socket = writer.get_extra_info("socket") if writer is not None else None
    return socket.fileno() if socket is not None and socket.fileno() > 0 else None


async def has_ended(connection: AbstractConnection) -> bool:
    """Return whether the server has closed a connection while it was idle, so that nothing sent now would arrive.

    A server does so at its end and after its `timeout`; so do proxies, and operators with CLIENT KILL.
    """
    writer = getattr(connection, "_writer", None)
    if not connection.is_connected:
        return False
    return (writer is not None and writer.is_closing()) or await connection.can_read()


async def write(connection: AbstractConnection, packed: bytes) -> None:
    """Write commands; the caller bounds the time. Raises RedisError, OSError.

    The stream is a private part of redis-py (checked with 8.1). Where it is missing, the connection writes, which takes
    a task and a time-out of its own for each batch: three more laps of the event loop.
    """
    writer = getattr(connection, "_writer", None)
    if writer is None:
        await connection.send_packed_command(packed, check_health=False)
        return
    writer.write(packed)
    await writer.drain()


async def read(connection: AbstractConnection, count: int) -> list[Any]:
    """Return replies; the caller bounds the time. Raises RedisError, OSError.

    What concerns one reply alone stands in its place: a ResponseError, or the UnicodeDecodeError of one that is not
    UTF-8, which hiredis has read to its end.
    """
    read_one = _reply_reader(connection)
    replies: list[Any] = []
    for _ in range(count):
        try:
            replies.append(await read_one())
        except UnicodeDecodeError as fault:
            replies.append(fault)
    return replies


def _reply_reader(connection: AbstractConnection) -> Callable[[], Awaitable[Any]]:
    """Return the function that reads one reply. A ResponseError is returned as the reply, not raised.

    It is the connection's parser, a private part of redis-py (checked with 8.1). Where that is missing, the connection
    reads, with a time-out for each reply, which costs more than reading the reply.
    """
    parser = getattr(connection, "_parser", None)
    parse: Callable[[], Awaitable[Any]] | None = getattr(parser, "read_response", None)
    if parse is not None:
        return parse

    async def plainly() -> Any:
        try:
            return await connection.read_response(disconnect_on_error=False)
        except ResponseError as refusal:
            return refusal

    return plainly
