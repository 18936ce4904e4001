"""Tell a server that is away from one to which TLS is spoken and that speaks none, or the other way round.

Neither side says so by itself: a server with TLS closes the connection, and one without waits for the end of a line.
"""

from __future__ import annotations

import asyncio
import ssl
from socket import gaierror

from redis.asyncio.connection import Connection, SSLConnection
from redis.exceptions import ConnectionError, RedisError, TimeoutError

from agentic_flywheel.broker.refusals import refusal_of

#: Seconds for the whole look.
_SECONDS = 1.0


class ToldWhichWay:
    """What our connections are made of: one to a server that speaks the other way names it."""

    async def connect(self) -> None:
        """Connect. Raises RedisError, OSError."""
        try:
            await super().connect()  # type: ignore[misc]  # a connection of redis-py stands behind this class
        except (RedisError, OSError) as failed:
            if code := await self._misunderstood(failed):
                raise ConnectionError(code) from failed
            raise

    async def _misunderstood(self, failed: Exception) -> str | None:
        """Return the code of the refusal where server and address speak in different ways."""
        tls = isinstance(self, SSLConnection)
        refusal = refusal_of(failed)
        silent = refusal is None or refusal.code == "UNREADABLE"
        # Where nobody listens, nobody is asked a second time; to what is not TLS, a server with TLS replies at once.
        nobody = isinstance(failed.__context__, (ConnectionRefusedError, gaierror))
        if not (silent and isinstance(self, Connection)) or nobody or (isinstance(failed, TimeoutError) and not tls):
            return None
        return await misunderstanding(self.host, self.port, tls=tls)


async def misunderstanding(host: str, port: int, *, tls: bool) -> str | None:
    """Return the code of the refusal (``refusals``) where a server speaks the other way; None where it does not.

    ``tls``: whether TLS was spoken to it. Neither a login nor a name is sent.
    """
    try:
        async with asyncio.timeout(_SECONDS):
            if tls:
                return "PLAIN" if await _replies(host, port) else None
            return "TLS" if await _shakes_hands(host, port) else None
    except (OSError, TimeoutError):
        return None


async def _replies(host: str, port: int) -> bool:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(b"PING\r\n")
        return await reader.read(1) in (b"+", b"-")
    finally:
        writer.close()


async def _shakes_hands(host: str, port: int) -> bool:
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname = False
    anybody.verify_mode = ssl.CERT_NONE
    try:
        _, writer = await asyncio.open_connection(host, port, ssl=anybody)
    except ssl.SSLError as failed:
        # Its own alert, such as that it wants a certificate of the client, is TLS.
        return "ALERT" in (failed.reason or "")
    writer.close()
    return True
