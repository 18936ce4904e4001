"""Send packed commands over a connection of redis-py and read their replies. Its private parts are used here alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, cast

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, ResponseError

#: Called with the replies of one batch of commands, in their order; or with the error that has ended the line.
#:
#: What concerns one reply alone stands in its place: a ResponseError, or the UnicodeDecodeError of one that is not
#: UTF-8, which hiredis has read to its end.
Told = Callable[[list[Any] | Exception], None]

#: What hiredis says where a reply has not come whole.
_NOT_YET = object()


class OneConnection:
    """One connection of a client, which is made anew at need, and its line while it is connected."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._connection: AbstractConnection | None = None
        self._line: Line | None = None

    @property
    def line(self) -> Line | None:
        """What carries calls; None where the connection has ended, or was not opened."""
        if self._line is not None and self._line.has_ended:
            self.drop()
        return self._line

    @property
    def descriptor(self) -> int | None:
        """The file descriptor; None where it is not connected."""
        return descriptor_of(self._connection)

    async def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Connect, on the loop that runs. Raises RedisError, OSError."""
        if self._connection is None:
            self._connection = await self._client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
        else:
            await self._connection.disconnect(nowait=True)
        connection = self._connection
        try:
            await connection.connect()
            if await connection.can_read():
                raise RedisConnectionError("the server has closed the connection")
            self._line = line_over(connection, loop)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise

    def drop(self) -> None:
        """Carry nothing more; whoever waits for replies is told nothing."""
        line, self._line = self._line, None
        if line is not None:
            line.close()

    async def close(self) -> None:
        """Give the connection back to its client."""
        self.drop()
        if self._connection is not None:
            await self._client.connection_pool.release(self._connection)


class Line(Protocol):
    """A connected connection that carries one batch of commands at a time."""

    @property
    def has_ended(self) -> bool:
        """Whether the connection is closed while nobody waits for replies, so that nothing sent now would arrive.

        A server closes it at its own end, after its `timeout`, by CLIENT KILL; so do proxies.
        """

    def send(self, commands: list[bytes], told: Told) -> None:
        """Write packed commands. ``told`` is called once, later; an error also where no reply comes in time."""

    def close(self) -> None:
        """Carry no more; nobody is told. The connection is still to be disconnected."""


def line_over(connection: AbstractConnection, loop: asyncio.AbstractEventLoop) -> Line:
    """Return a line over a connection that has just connected, on the loop that runs."""
    # The stream is a private part of redis-py (checked with 8.1).
    if getattr(connection, "_writer", None) is None or getattr(connection, "_parser", None) is None:
        return _TaskLine(connection, loop)
    return _StreamLine(connection, loop)


class _StreamLine(asyncio.Protocol):
    """Takes the place of redis-py's stream: replies are read where they arrive, with no task that is woken for them."""

    def __init__(self, connection: AbstractConnection, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._seconds: float | None = connection.socket_timeout
        encoder = connection.encoder
        decoding = {"encoding": encoder.encoding, "errors": encoder.encoding_errors} if encoder.decode_responses else {}
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse,
            replyError=connection._parser.parse_error,
            notEnoughData=_NOT_YET,
            **decoding,
        )
        self._told: Told | None = None
        self._count = 0
        self._replies: list[Any] = []
        #: When replies are overdue, by the loop's clock, and the timer that looks; it is left running for later ones.
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._transport = cast(asyncio.Transport, cast(asyncio.StreamWriter, connection._writer).transport)
        self._before = cast(asyncio.Protocol, self._transport.get_protocol())
        self._transport.set_protocol(self)

    @property
    def has_ended(self) -> bool:
        return self._told is None and self._transport.is_closing()

    def send(self, commands: list[bytes], told: Told) -> None:
        self._told, self._count, self._replies = told, len(commands), []
        if self._seconds is not None:
            self._due = self._loop.time() + self._seconds
            if self._timer is None:
                self._timer = self._loop.call_at(self._due, self._look)
        self._transport.write(b"".join(commands))

    def close(self) -> None:
        self._told = None
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while True:
            try:
                reply = self._reader.gets()
            except UnicodeDecodeError as fault:
                reply = fault
            except Exception as fault:
                self._end(fault)
                return
            if reply is _NOT_YET:
                return
            if isinstance(reply, hiredis.PushNotification):
                continue
            if self._told is None:
                self._end(RedisConnectionError("the broker has sent what nobody asked for"))
                return
            if isinstance(reply, RedisConnectionError):  # such as "max number of clients reached"
                self._end(reply)
                return
            self._replies.append(reply)
            if len(self._replies) == self._count:
                told, self._told = self._told, None
                told(self._replies)

    def connection_lost(self, error: Exception | None) -> None:
        self._before.connection_lost(error)  # whoever waits until the stream has closed waits there
        self._end(error or RedisConnectionError("Connection closed by server."))

    def _look(self) -> None:
        self._timer = None
        if self._told is None:
            return
        if self._loop.time() < self._due:
            self._timer = self._loop.call_at(self._due, self._look)
        else:
            self._end(TimeoutError())

    def _end(self, error: Exception) -> None:
        told = self._told
        self.close()
        self._transport.abort()
        if told is not None:
            told(error)


class _TaskLine:
    """The same over what redis-py offers to all: a task, and a time-out for each reply. That costs more."""

    def __init__(self, connection: AbstractConnection, loop: asyncio.AbstractEventLoop) -> None:
        self._connection, self._loop = connection, loop
        self._task: asyncio.Task[None] | None = None

    @property
    def has_ended(self) -> bool:
        return (self._task is None or self._task.done()) and not self._connection.is_connected

    def send(self, commands: list[bytes], told: Told) -> None:
        self._task = self._loop.create_task(self._carry(commands, told))

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _carry(self, commands: list[bytes], told: Told) -> None:
        try:
            await self._connection.send_packed_command(b"".join(commands), check_health=False)
            replies = [await self._reply() for _ in commands]
        except Exception as error:
            told(error)
        else:
            told(replies)

    async def _reply(self) -> Any:
        try:
            return await self._connection.read_response(disconnect_on_error=False)
        except (ResponseError, UnicodeDecodeError) as refusal:
            return refusal


def descriptor_of(connection: AbstractConnection | None) -> int | None:
    """Return a connection's file descriptor; None where it is not connected.

    The stream is a private part of redis-py (checked with 8.1). Without it the answer is None.
    """
    writer = getattr(connection, "_writer", None)
    socket = writer.get_extra_info("socket") if writer is not None else None
    return socket.fileno() if socket is not None and socket.fileno() > 0 else None


class ToldClosed:
    """What our connections are made of: one that is found closed while redis-py writes is lost, not a fault."""

    async def send_packed_command(self, *args: Any, **kwargs: Any) -> None:
        """Write packed commands. Raises RedisError, OSError."""
        send = super().send_packed_command  # type: ignore[misc]  # a connection of redis-py stands behind this class
        try:
            await send(*args, **kwargs)
        except RuntimeError as closed:  # what uvloop says of a transport that has closed meanwhile
            raise ConnectionResetError(f"the connection was lost: {closed}") from closed
