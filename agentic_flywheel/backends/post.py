"""Sessions for servers of flows, and a POST of JSON that is prepared once: to build each anew is half a call's cost.

This takes private parts of aiohttp. They are checked at the first use; where one is missing or has another form,
``prepared_post`` returns None and the caller sends a plain request. In both cases connections, the reading of
responses and errors are aiohttp's own.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import ssl
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import aiohttp
from aiohttp.http import HttpProcessingError, RawResponseMessage
from yarl import URL

logger = logging.getLogger(__name__)

#: Seconds. Flowise closes idle connections after 5: reusing one at that moment loses the call.
KEEPALIVE = 4.0
CONNECT_TIMEOUT = 5.0
#: Heads of one response that announce it and are none yet, such as 102.
MAX_ANNOUNCED = 1000


class Post:
    """What all calls of one address under one key have in common."""

    def __init__(self, session: aiohttp.ClientSession, url: URL, headers: dict[str, str]) -> None:
        self._session, self._loop = session, asyncio.get_running_loop()
        headers = {**headers, "Content-Type": "application/json"}
        # It is never sent. The connector takes from it where to connect, a response what it answers.
        self._pattern = aiohttp.ClientRequest("POST", url, headers=headers, loop=self._loop, session=session)
        self._about = self._pattern.request_info
        lines = self._pattern.headers.copy()
        del lines["Content-Length"]
        self._head = _head(f"POST {url.raw_path_qs} HTTP/1.1", lines).removesuffix(b"\r\n")

    async def send(self, body: bytes) -> aiohttp.ClientResponse:
        """Send a body and return the response, of which the head was read. Raises aiohttp.ClientError."""
        connection = await self._connect()
        try:
            protocol = connection.protocol
            assert protocol is not None
            protocol.set_response_params(timer=_no_timer(), read_until_eof=True)
            writer = _http_writer().StreamWriter(protocol, self._loop)
            writer._writelines((b"%bContent-Length: %d\r\n\r\n" % (self._head, len(body)), body))
            response = aiohttp.ClientResponse(
                "POST",
                self._pattern.original_url,
                writer=None,
                continue100=None,
                timer=_no_timer(),
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


def prepared_post(session: aiohttp.ClientSession, url: URL, headers: dict[str, str]) -> Post | None:
    """Return a prepared request; None where the installed aiohttp does not have what it takes."""
    if missing_part() is not None:
        return None
    try:
        return Post(session, url, headers)
    except (AttributeError, KeyError, TypeError) as other:
        logger.warning("aiohttp %s: %r; calls of flows cost more than they could", aiohttp.__version__, other)
        return None


@cache
def missing_part() -> str | None:
    """Return which of aiohttp's private parts is missing or has another form, None if all are as expected."""
    try:
        from aiohttp.client_proto import ResponseHandler

        calls: list[tuple[Any, tuple[Any, ...], tuple[str, ...]]] = [
            (aiohttp.ClientRequest.__init__, (None, "POST", None), ("headers", "loop", "session")),
            (aiohttp.BaseConnector.connect, (None, None), ("traces", "timeout")),
            (ResponseHandler.set_response_params, (None,), ("timer", "read_until_eof")),
            (aiohttp.ClientResponse.__init__, (None, "POST", None), _RESPONSE_ARGUMENTS),
            (aiohttp.ClientResponse.start, (None, None), ()),
        ]
        for function, positional, named in calls:
            inspect.signature(function).bind(*positional, **dict.fromkeys(named))
        inspect.signature(_http_writer().StreamWriter).bind(None, None)
        inspect.signature(_http_writer().StreamWriter._writelines).bind(None, ())
        _no_timer()
        written = _head("POST / HTTP/1.1", {"Host": "a"})
        if written != b"POST / HTTP/1.1\r\nHost: a\r\n\r\n":
            raise ValueError("the head of a request is written in another way")
    except (ImportError, AttributeError, TypeError, ValueError) as other:
        logger.warning("aiohttp %s: %s; calls of flows cost more than they could", aiohttp.__version__, other)
        return str(other)
    return None


#: The named arguments with which a response is made.
_RESPONSE_ARGUMENTS = (
    "writer",
    "continue100",
    "timer",
    "request_info",
    "traces",
    "loop",
    "session",
    "stream_writer",
)


def _head(first_line: str, headers: Any) -> bytes:
    return bytes(_http_writer()._serialize_headers(first_line, headers))


@cache
def _http_writer() -> Any:
    """Return aiohttp's module that writes requests. Raises ImportError where there is none under this name."""
    from aiohttp import http_writer

    return http_writer


@cache
def _no_timer() -> Any:
    """Return aiohttp's timer that never ends: the caller bounds the call. Raises ImportError, AttributeError."""
    from aiohttp import helpers

    return helpers.TimerNoop()


def _bounded(make: Callable[[], Any]) -> Any:
    """Return a protocol that passes over heads which only announce a response (1xx), up to a number.

    Without end they would hold a call until its time is over.
    """
    protocol = make()
    read = protocol.read

    async def read_bounded() -> tuple[RawResponseMessage, aiohttp.StreamReader]:
        for _ in range(MAX_ANNOUNCED):
            message, payload = await read()
            if not 100 <= message.code < 200 or message.code == 101:
                return message, payload
        raise HttpProcessingError(message=f"more than {MAX_ANNOUNCED} heads announce a response")

    protocol.read = read_bounded
    return protocol


class _Connector(aiohttp.TCPConnector):
    """Uses no connection again on which something came that nobody had asked for: it would pass for the next answer."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory = partial(_bounded, self._factory)

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> aiohttp.connector.Connection:
        while (found := await super().connect(req, traces, timeout)).protocol is None or found.protocol.should_close:
            found.close()
        return found


def new_session(trusted: ssl.SSLContext | None = None) -> aiohttp.ClientSession:
    """Return a session as servers of flows need it. The number of connections is limited by the callers, not here."""
    return aiohttp.ClientSession(
        connector=_Connector(limit=0, keepalive_timeout=KEEPALIVE, ssl=trusted or True),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
        cookie_jar=aiohttp.DummyCookieJar(),
    )
