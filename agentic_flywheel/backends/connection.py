"""Exchange requests and responses with a server of flows over HTTP, and name whatever breaks on the way."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from types import MappingProxyType, TracebackType
from typing import Any, TypeVar
from urllib.request import getproxies, proxy_bypass

import aiohttp
from pydantic import SecretStr
from yarl import URL

from agentic_flywheel.backends.bodies import StreamedBody
from agentic_flywheel.backends.decoding import decode_json
from agentic_flywheel.backends.post import Post, prepared_post
from agentic_flywheel.backends.reasons import clean
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
from agentic_flywheel.secret_values import secret_texts
from agentic_flywheel.settings import header_values

#: Seconds. Flowise closes idle connections after 5: reusing one at that moment loses the call.
KEEPALIVE = 4.0
CONNECT_TIMEOUT = 5.0
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
    ) -> None:
        """``headers`` go with every request, and may name variables as ``${NAME}``; ``ca_file`` is trusted too."""
        self._failure = failure
        self._session = session
        self._owns_session = session is None
        self._given_headers, self._ca_file = headers, ca_file
        self._posts: dict[tuple[URL, str | None], Post] = {}

    async def close(self) -> None:
        if self._session is not None and self._owns_session:
            await self._session.close()
            self._session = None
            self._posts.clear()

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
        try:
            async with await self._send(method, url, api_key, body, key, headers) as response:
                return await read(response)
        except aiohttp.ConnectionTimeoutError:
            raise ServerUnreachable(key, f"no connection within {CONNECT_TIMEOUT:g} s", sent=False) from None
        except aiohttp.ClientPayloadError:
            raise ServerUnreachable(key, "the connection broke before the answer was whole") from None
        except aiohttp.ClientHttpProxyError as refused:
            raise ServerUnreachable(key, f"the proxy answered with status {refused.status}", sent=False) from None
        except (aiohttp.ClientResponseError, aiohttp.InvalidURL) as refused:
            raise FlowProtocolError(key, clean(f"no HTTP: {type(refused).__name__}")) from None
        except (aiohttp.ClientError, ConnectionError) as broken:
            if isinstance(body, StreamedBody) and body.failed is not None:
                raise body.failed from None
            sent = not isinstance(broken, aiohttp.ClientConnectorError)
            raise ServerUnreachable(key, clean(str(broken)) or type(broken).__name__, sent=sent) from None

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
        if response.status == 200 and (any_type or response.content_type == "application/json"):
            return body
        failed = Failed(response.status, response.content_type, response.headers, body)
        raise self._failure(flow, failed, secrets)

    def secrets(self, api_key: SecretStr | None, config: Mapping[str, Any] = MappingProxyType({})) -> tuple[str, ...]:
        """Return what a call sends that nothing may quote: its key, its server's and its configuration's secrets."""
        secret = secret_of(api_key)
        of_headers: tuple[str, ...] = ()
        with contextlib.suppress(InvalidSetting):  # then nothing is sent either
            _, of_headers = header_values(self._given_headers)
        return (*([secret] if secret else []), *of_headers, *secret_texts(config))

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
        login = {} if proxy is None else _login(proxy, "Proxy-Authorization")
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
        named = {each.lower() for each in given}
        if secret is not None and (unfit := _unfit(url, secret, named)):
            raise FlowUnauthorized(flow, unfit)
        login = {"Authorization": f"Bearer {secret}"} if secret is not None else _login(url, "Authorization")
        return {**login, **given}

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


def new_session(trusted: ssl.SSLContext | None = None) -> aiohttp.ClientSession:
    """Return a session as servers of flows need it. The number of connections is limited by the callers, not here."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE, ssl=trusted or True),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


def _trusting(ca_file: str, flow: str) -> ssl.SSLContext:
    """Return what trusts the usual authorities and those of a file."""
    trusted = ssl.create_default_context()
    try:
        trusted.load_verify_locations(ca_file)
    except OSError as unreadable:  # an SSLError is one
        reason = f"its server's file of authorities {ca_file!r} cannot be read: {unreadable.strerror or unreadable}"
        raise ServerUnreachable(flow, reason, sent=False) from None
    return trusted


def _proxy_of(url: URL, flow: str) -> URL | None:
    """Return the proxy that the environment names for an address (HTTPS_PROXY, HTTP_PROXY, NO_PROXY)."""
    host = url.host or ""
    if _is_this_machine(host) or not (address := getproxies().get(url.scheme)) or proxy_bypass(host):
        return None
    proxy = URL(address if "://" in address else f"http://{address}")
    if proxy.scheme not in ("http", "https"):
        raise ServerUnreachable(flow, f"the environment names a proxy of the kind {proxy.scheme}", sent=False)
    return proxy


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


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
        if heard is not None:
            heard()
    return bytes(body)


class ExpectedForm:
    """Names an answer of an unexpected form: the body of ``with`` reads it."""

    def __init__(self, flow: str) -> None:
        self._flow = flow

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is not None and issubclass(kind, (ValueError, KeyError, TypeError, RecursionError)):
            raise FlowProtocolError(self._flow, "a field of the answer has an unexpected form") from None


def _login(url: URL, header: str) -> dict[str, str]:
    """Return the login in an address as a header; nothing where it has none."""
    if url.raw_user is None and url.raw_password is None:
        return {}
    login = base64.b64encode(f"{url.user or ''}:{url.password or ''}".encode())
    return {header: f"Basic {login.decode()}"}


def _unfit(url: URL, secret: str, headers: Collection[str]) -> str:
    """Return why a key cannot be sent to an address with these headers; empty where it can."""
    if url.raw_user is not None or url.raw_password is not None:
        return (
            "its server's address holds a user and a password, and an API key is set too; "
            "both would be the Authorization header: take one of them away"
        )
    if "authorization" in headers:
        return "its server's headers have an Authorization, and an API key is set too: take one of them away"
    return "" if secret.isprintable() else "it holds a character that no header can carry, such as the end of a line"


def secret_of(api_key: SecretStr | None) -> str | None:
    return api_key.get_secret_value() if api_key is not None else None
