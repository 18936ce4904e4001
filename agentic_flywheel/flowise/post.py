"""A POST of JSON to one address, prepared once: aiohttp makes every request anew, which is half the cost of a call.

Its connections, the reading of responses and the errors of both stay aiohttp's own.
"""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp.helpers import TimerNoop
from aiohttp.http_writer import StreamWriter, _serialize_headers
from yarl import URL

#: What bounds a call is its caller's.
_NO_TIMER = TimerNoop()


class Post:
    """What all calls of one address under one key have in common."""

    def __init__(self, session: aiohttp.ClientSession, url: URL, headers: dict[str, str]) -> None:
        self._session, self._loop = session, asyncio.get_running_loop()
        headers = {**headers, "Content-Type": "application/json"}
        # It is never sent: the connector learns from it where to connect, a response what it answers.
        self._pattern = aiohttp.ClientRequest("POST", url, headers=headers, loop=self._loop, session=session)
        self._about = self._pattern.request_info
        lines = self._pattern.headers.copy()
        del lines["Content-Length"]
        self._head = _serialize_headers(f"POST {url.raw_path_qs} HTTP/1.1", lines).removesuffix(b"\r\n")

    async def send(self, body: bytes) -> aiohttp.ClientResponse:
        """Send a body and return the response, of which the head was read. Raises aiohttp.ClientError."""
        connection = await self._connect()
        try:
            protocol = connection.protocol
            assert protocol is not None
            protocol.set_response_params(timer=_NO_TIMER, read_until_eof=True)
            writer = StreamWriter(protocol, self._loop)
            writer._writelines((b"%bContent-Length: %d\r\n\r\n" % (self._head, len(body)), body))
            response = aiohttp.ClientResponse(
                "POST",
                self._pattern.original_url,
                writer=None,
                continue100=None,
                timer=_NO_TIMER,
                request_info=self._about,
                traces=[],
                loop=self._loop,
                session=self._session,
                stream_writer=writer,
            )
            return await response.start(connection)
        except BaseException:
            connection.close()
            raise

    async def _connect(self) -> aiohttp.connector.Connection:
        connector = self._session.connector
        if connector is None:
            raise aiohttp.ClientConnectionError("the session is closed")
        try:
            return await connector.connect(self._pattern, traces=[], timeout=self._session.timeout)
        except aiohttp.ClientError:
            raise
        except TimeoutError as late:
            raise aiohttp.ConnectionTimeoutError(f"no connection to {self._pattern.url.host}") from late
        except OSError as broken:
            raise aiohttp.ClientOSError(*broken.args) from broken
