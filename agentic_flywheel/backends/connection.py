"""Exchange requests and responses with a server of flows over HTTP, and name whatever breaks on the way."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Any, TypeVar

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError
from pydantic import SecretStr
from yarl import URL

from agentic_flywheel.backends.bodies import StreamedBody
from agentic_flywheel.backends.decoding import decode_json
from agentic_flywheel.backends.logins import AUTHORIZATION, login_of, unfit_key
from agentic_flywheel.backends.post import CONNECT_TIMEOUT, Post, new_session, prepared_post
from agentic_flywheel.backends.reasons import clean
from agentic_flywheel.backends.sent_secrets import header_secrets
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import (
    AnswerTooLong,
    FlowError,
    FlowProtocolError,
    FlowTimeout,
    FlowUnauthorized,
    InvalidSetting,
    ServerUnreachable,
)
from agentic_flywheel.errors.flow import ANY_FLOW
from agentic_flywheel.proxies import proxy_to
from agentic_flywheel.secret_values import secret_texts
from agentic_flywheel.settings import header_values

#: Seconds for calls that run no flow.
SHORT_TIMEOUT = 10.0
#: Bytes of a body, unpacked. Of an error only the beginning is read: its message stands there.
MAX_ANSWER = 32 * 1024 * 1024
MAX_ERROR = 1024 * 1024
#: So many addresses are kept prepared.
_MAX_POSTS = 512

T = TypeVar("T")


@dataclass(frozen=True)
class Failed:
    """A response that is no answer, as it came."""

    status: int
    content_type: str
    headers: Mapping[str, str]
    #: At most ``MAX_ERROR`` bytes and a little more.
    body: bytes


#: Names the error that a response stands for. It quotes none of the secrets.
FailureOf = Callable[[Flow | None, Failed, Collection[str]], FlowError]


class Connection:
    """The connections to servers of one kind. A given session stays the caller's to close."""

    def __init__(
        self,
        failure: FailureOf,
        *,
        session: aiohttp.ClientSession | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        ca_file: str | None = None,
        key_header: str = AUTHORIZATION,
    ) -> None:
        """``headers`` go with every request, and may name variables as ``${NAME}``; ``ca_file`` is trusted too.

        ``key_header``: the header that holds the key, alone; ``Authorization`` holds it as a bearer's token.
        """
        self._failure = failure
        self._session = session
        self._owns_session = session is None
        self._given_headers, self._ca_file, self._key_header = headers, ca_file, key_header
        self._posts: dict[tuple[URL, str | None], Post] = {}
        self._under_way = 0
        self._closing = False

    async def close(self) -> None:
        """Close all connections as soon as the requests under way have ended, and so after each later request."""
        self._closing = True
        await self._close_if_unused()

    async def _close_if_unused(self) -> None:
        if self._closing and not self._under_way and self._session is not None and self._owns_session:
            session, self._session = self._session, None
            self._posts.clear()
            await session.close()

    async def fetch_json(
        self,
        method: str,
        url: URL,
        flow: Flow | None = None,
        api_key: SecretStr | None = None,
        *,
        body: dict[str, Any] | None = None,
        timeout: float = SHORT_TIMEOUT,
    ) -> Any:
        """Exchange one request for the decoded JSON of its answer. Raises a FlowError."""
        payload = None if body is None else json.dumps(body).encode()
        answered = await self.fetch(method, url, flow, api_key, body=payload, timeout=timeout)
        with ExpectedForm(flow.key if flow else ANY_FLOW):
            return decode_json(answered)

    async def fetch(
        self,
        method: str,
        url: URL,
        flow: Flow | None = None,
        api_key: SecretStr | None = None,
        *,
        body: bytes | StreamedBody | None = None,
        timeout: float = SHORT_TIMEOUT,
        any_type: bool = False,
    ) -> bytes:
        """Exchange one request for the body of its answer. Raises a FlowError.

        ``any_type``: whether the answer may be something else than JSON.
        """
        read = partial(self.read_answer, flow=flow, secrets=self.secrets(api_key), any_type=any_type)
        try:
            async with asyncio.timeout(timeout):
                return await self.exchange(method, url, flow, api_key, body, read)
        except TimeoutError:
            raise FlowTimeout(flow.key if flow else ANY_FLOW, timeout) from None

    async def exchange(
        self,
        method: str,
        url: URL,
        flow: Flow | None,
        api_key: SecretStr | None,
        body: bytes | StreamedBody | None,
        read: Callable[[aiohttp.ClientResponse], Awaitable[T]],
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> T:
        """Return what ``read`` makes of the response to a request. Names whatever breaks on the way.

        ``headers``: of this request alone, beside the others.
        """
        key = flow.key if flow else ANY_FLOW
        self._under_way += 1
        try:
            async with await self._send(method, url, api_key, body, key, headers) as response:
                return await read(response)
        except aiohttp.ConnectionTimeoutError:
            raise ServerUnreachable(key, f"no connection within {CONNECT_TIMEOUT:g} s", sent=False) from None
        except aiohttp.ClientPayloadError as broken:
            if isinstance(broken.__cause__, ContentEncodingError):
                raise FlowProtocolError(key, "its body is not packed as its Content-Encoding says") from None
            raise ServerUnreachable(key, "the connection broke before the answer was whole") from None
        except aiohttp.ClientHttpProxyError as refused:
            raise ServerUnreachable(key, f"the proxy answered with status {refused.status}", sent=False) from None
        except (aiohttp.ClientResponseError, aiohttp.InvalidURL) as refused:
            # What came may be anything: the first line of the message says what is wrong with it, the others quote it.
            wrong = getattr(refused, "message", "").partition("\n")[0].rstrip(":") or type(refused).__name__
            raise FlowProtocolError(key, clean(f"what it sends cannot be read as HTTP: {wrong}")) from None
        except aiohttp.ServerDisconnectedError:
            raise ServerUnreachable(key, "it closed the connection before it had answered") from None
        except (aiohttp.ClientError, ConnectionError) as broken:
            if isinstance(body, StreamedBody) and body.failed is not None:
                raise body.failed from None
            sent = not isinstance(broken, aiohttp.ClientConnectorError)
            raise ServerUnreachable(key, clean(_words(broken)) or type(broken).__name__, sent=sent) from None
        finally:
            self._under_way -= 1
            await self._close_if_unused()

    async def read_answer(
        self,
        response: aiohttp.ClientResponse,
        flow: Flow | None,
        secrets: Collection[str],
        *,
        any_type: bool = False,
        heard: Callable[[], None] | None = None,
    ) -> bytes:
        """Return the body of a successful JSON response. Raises the FlowError that any other stands for.

        ``secrets``: what no error may quote. ``heard`` is called for every part that comes.
        """
        body = await read_body(response, flow.key if flow else ANY_FLOW, heard)
        # A wrong path or method often gets a 200 with a page.
        if 200 <= response.status < 300 and (any_type or response.content_type == "application/json"):
            return body
        failed = Failed(response.status, response.content_type, response.headers, body)
        raise self._failure(flow, failed, secrets)

    def secrets(self, api_key: SecretStr | None, config: Mapping[str, Any] = MappingProxyType({})) -> tuple[str, ...]:
        """Return what a call sends that nothing may quote: its key, its server's and its configuration's secrets."""
        secret = secret_of(api_key)
        return (*([secret] if secret else []), *header_secrets(self._given_headers), *secret_texts(config))

    async def _send(
        self,
        method: str,
        url: URL,
        api_key: SecretStr | None,
        body: bytes | StreamedBody | None,
        flow: str,
        more: Mapping[str, str],
    ) -> aiohttp.ClientResponse:
        secret = secret_of(api_key)
        alike = method == "POST" and isinstance(body, bytes) and not more
        if alike and isinstance(body, bytes) and (post := self._posts.get((url, secret))) is not None:
            return await post.send(body)
        headers, proxy = {**self._headers(url, secret, flow), **more}, _proxy_of(url, flow)
        if alike and isinstance(body, bytes) and self._owns_session and proxy is None:
            post = self._prepared(url, secret, headers)
            if post is not None:
                return await post.send(body)
        if isinstance(body, StreamedBody):
            headers |= {"Content-Type": body.content_type, "Content-Length": str(body.length)}
        elif body is not None:
            headers["Content-Type"] = "application/json"
        login = {} if proxy is None else login_of(proxy, "Proxy-Authorization")
        if url.scheme == "http":
            headers |= login  # the proxy reads the request itself; of TLS it reads only whereto
        # A redirect would carry the key elsewhere; servers of flows send none.
        return await self._opened(flow).request(
            method,
            url.with_user(None),
            data=body,
            headers=headers,
            allow_redirects=False,
            proxy=None if proxy is None else proxy.with_user(None),
            proxy_headers=None if proxy is None else login,
        )

    def _headers(self, url: URL, secret: str | None, flow: str) -> dict[str, str]:
        try:
            given, _ = header_values(self._given_headers)
        except InvalidSetting as missing:
            raise FlowUnauthorized(flow, f"a header of its server cannot be sent: {missing}") from None
        if unsendable := next((name for name, value in given.items() if not value.isprintable()), None):
            raise FlowUnauthorized(flow, f"its server's header {unsendable} holds a character that no header can carry")
        login = login_of(url, AUTHORIZATION)
        if secret is None:
            return {**login, **given}
        if unfit := unfit_key(secret, self._key_header, login, given):
            raise FlowUnauthorized(flow, unfit)
        bearer = self._key_header == AUTHORIZATION
        return {**login, self._key_header: f"Bearer {secret}" if bearer else secret, **given}

    def _prepared(self, url: URL, secret: str | None, headers: dict[str, str]) -> Post | None:
        post = prepared_post(self._opened(ANY_FLOW), url.with_user(None), headers)
        if post is not None:
            if len(self._posts) >= _MAX_POSTS:
                self._posts.clear()
            self._posts[url, secret] = post
        return post

    def _opened(self, flow: str) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = new_session(_trusting(self._ca_file, flow) if self._ca_file else None)
        return self._session


def _proxy_of(url: URL, flow: str) -> URL | None:
    if (named := proxy_to(str(url))) is None:
        return None
    proxy = URL(named)
    if proxy.scheme not in ("http", "https"):
        raise ServerUnreachable(flow, f"the environment names a proxy of the kind {proxy.scheme}", sent=False)
    return proxy


def _words(broken: Exception) -> str:
    """Return why a connection failed. The system's word for it where there is one: the client's own has its insides."""
    if not isinstance(broken, aiohttp.ClientConnectorError):
        return str(broken)
    reason, number = broken.os_error, broken.os_error.errno or 0
    if isinstance(reason, ssl.SSLCertVerificationError):
        words = f"its certificate is not accepted: {reason.verify_message}"
    elif isinstance(reason, ssl.SSLError):
        if reason.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
            return f"{broken.host}:{broken.port} speaks no TLS: its address begins with http://"
        words = f"TLS failed: {(reason.reason or 'no reason given').replace('_', ' ').lower()}"
    else:  # names that are not found have numbers below, of another list
        words = os.strerror(number) if number > 0 else reason.strerror or str(reason)
    return f"{words} ({broken.host}:{broken.port})"


def _trusting(ca_file: str, flow: str) -> ssl.SSLContext:
    """Return what trusts the usual authorities and those of a file."""
    trusted = ssl.create_default_context()
    try:
        trusted.load_verify_locations(ca_file)
    except OSError as unreadable:  # an SSLError is one
        reason = f"its server's file of authorities {ca_file!r} cannot be read: {unreadable.strerror or unreadable}"
        raise ServerUnreachable(flow, clean(reason), sent=False) from None
    return trusted


async def read_body(
    response: aiohttp.ClientResponse, flow: str, heard: Callable[[], None] | None = None, *, begun: bytes = b""
) -> bytes:
    """Return a body, of an error its beginning. ``begun``: what was read of it before. Raises AnswerTooLong."""
    # Counted as it is unpacked: a few packed bytes can stand for gigabytes, and `read` would unpack them all.
    body = bytearray(begun)
    async for chunk in response.content.iter_any():
        body += chunk
        if response.status >= 300 and len(body) > MAX_ERROR:
            break
        if len(body) > MAX_ANSWER:
            raise AnswerTooLong(flow, f"it is larger than {MAX_ANSWER >> 20} MB")
        if heard is not None and not response.content.is_eof():
            heard()
    return bytes(body)


#: What Python raises of a value that is another than the reader took it for, however it reads it.
_UNEXPECTED = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)


class ExpectedForm:
    """Names an answer of an unexpected form: the body of ``with`` reads it."""

    def __init__(self, flow: str) -> None:
        self._flow = flow

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is not None and issubclass(kind, _UNEXPECTED):
            raise FlowProtocolError(self._flow, "a field of the answer has an unexpected form") from None


def secret_of(api_key: SecretStr | None) -> str | None:
    return api_key.get_secret_value() if api_key is not None else None
