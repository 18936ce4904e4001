"""Tell a server that is away from one that speaks TLS in another way than its address says, or not at all.

Neither side says so by itself: a server with TLS closes the connection, and one without waits for the end of a line.
One that wants another certificate of the client says it, in TLS 1.3 after the client believes to be connected: what the
client has sent by then may break the connection, before that word is read.
"""

from __future__ import annotations

import asyncio
import ssl
from socket import gaierror

from redis.asyncio.connection import Connection, SSLConnection
from redis.exceptions import ConnectionError, RedisError, TimeoutError

from agentic_flywheel.broker.refusals import refusal_of
from agentic_flywheel.broker.versions import ServerTooOld

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
        silent = not isinstance(failed, ServerTooOld) and (refusal is None or refusal.code == "UNREADABLE")
        # Where nobody listens, nobody is asked a second time; to what is not TLS, a server with TLS replies at once.
        nobody = isinstance(failed.__context__, (ConnectionRefusedError, gaierror))
        if not (silent and isinstance(self, Connection)) or nobody or (isinstance(failed, TimeoutError) and not tls):
            return None
        # What of TLS was spoken to it, with the client's certificate.
        spoken = self.ssl_context.get() if isinstance(self, SSLConnection) else None
        return await misunderstanding(self.host, self.port, spoken)


async def misunderstanding(host: str, port: int, spoken: ssl.SSLContext | None) -> str | None:
    """Return the code of the refusal (``refusals``) where a server speaks another way; None where it does not.

    ``spoken``: the TLS that was spoken to it; None: none was. Neither a login nor a name is sent.
    """
    try:
        async with asyncio.timeout(_SECONDS):
            if spoken is None:
                return "TLS" if await _shakes_hands(host, port) else None
            return "PLAIN" if await _replies(host, port) else await _alert(host, port, spoken)
    except (OSError, TimeoutError):
        return None


async def _replies(host: str, port: int) -> bool:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(b"PING\r\n")
        return await reader.read(1) in (b"+", b"-")
    except OSError:  # closed with what it had not read
        return False
    finally:
        writer.close()


async def _alert(host: str, port: int, spoken: ssl.SSLContext) -> str | None:
    """Return the code of what a server says of the client's certificate while the client says nothing."""
    try:
        reader, writer = await asyncio.open_connection(host, port, ssl=spoken)
        try:
            await reader.read(1)
        finally:
            writer.close()
    except ssl.SSLError as failed:
        refusal = refusal_of(ConnectionError(str(failed)))
        return refusal.code if refusal else None
    return None


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
