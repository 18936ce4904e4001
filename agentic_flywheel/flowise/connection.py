"""Exchange requests and responses with Flowise over HTTP, and name whatever breaks on the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import lru_cache, partial
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
from pydantic import SecretStr
from yarl import URL

from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowiseUnreachable, FlowProtocolError, FlowTimeout, InvalidSetting
from agentic_flywheel.flowise.decoding import decode_json
from agentic_flywheel.flowise.failure import clean, failure_of_response
from agentic_flywheel.flowise.post import Post

#: Seconds. Flowise closes idle connections after 5: reusing one at that moment loses the call.
KEEPALIVE = 4.0
CONNECT_TIMEOUT = 5.0
#: Seconds for calls that run no flow.
SHORT_TIMEOUT = 10.0
MAX_ANSWER = 64 * 1024 * 1024
#: So many addresses are kept prepared.
_MAX_POSTS = 512

#: Stands for the flow in errors of calls that concern no particular one.
ANY_FLOW = "*"

T = TypeVar("T")


class Connection:
    """The connections to Flowise servers. A given session stays the caller's to close."""

    def __init__(self, session: aiohttp.ClientSession | None = None) -> None:
        self._session = session
        self._owns_session = session is None
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
        body: bytes | None = None,
        timeout: float = SHORT_TIMEOUT,
    ) -> bytes:
        """Exchange one request for the body of its answer. Raises a FlowError."""
        read = partial(read_answer, flow=flow, api_key=api_key, html=url.name == "ping")
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
        body: bytes | None,
        read: Callable[[aiohttp.ClientResponse], Awaitable[T]],
    ) -> T:
        """Return what ``read`` makes of the response to a request. Names whatever breaks on the way."""
        key = flow.key if flow else ANY_FLOW
        try:
            async with await self._send(method, url, api_key, body) as response:
                return await read(response)
        except aiohttp.ConnectionTimeoutError:
            raise FlowiseUnreachable(key, f"no connection within {CONNECT_TIMEOUT:g} s", sent=False) from None
        except aiohttp.ClientPayloadError:
            raise FlowiseUnreachable(key, "the connection broke before the answer was whole") from None
        except (aiohttp.ClientResponseError, aiohttp.InvalidURL) as refused:
            raise FlowProtocolError(key, clean(f"no HTTP: {type(refused).__name__}")) from None
        except (aiohttp.ClientError, ConnectionError) as broken:
            sent = not isinstance(broken, aiohttp.ClientConnectorError)
            raise FlowiseUnreachable(key, clean(str(broken)) or type(broken).__name__, sent=sent) from None

    async def _send(
        self, method: str, url: URL, api_key: SecretStr | None, body: bytes | None
    ) -> aiohttp.ClientResponse:
        secret = secret_of(api_key)
        if method == "POST" and body is not None and self._owns_session:
            post = self._posts.get((url, secret)) or self._prepared(url, secret)
            return await post.send(body)
        headers = _headers(secret) if body is None else {**_headers(secret), "Content-Type": "application/json"}
        # A redirect would carry the key elsewhere; Flowise sends none.
        return await self._opened().request(method, url, data=body, headers=headers, allow_redirects=False)

    def _prepared(self, url: URL, secret: str | None) -> Post:
        if len(self._posts) >= _MAX_POSTS:
            self._posts.clear()
        post = self._posts[url, secret] = Post(self._opened(), url, _headers(secret))
        return post

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = new_session()
        return self._session


def new_session() -> aiohttp.ClientSession:
    """Return a session as Flowise needs it. The number of connections is limited by the callers, not here."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


async def read_answer(
    response: aiohttp.ClientResponse, flow: Flow | None, api_key: SecretStr | None, *, html: bool = False
) -> bytes:
    """Return the body of a successful JSON response. Raises the FlowError that any other stands for."""
    body = await _read(response, flow.key if flow else ANY_FLOW)
    # A wrong path or method gets a 200 with a page; only `ping` speaks text.
    if response.status == 200 and (html or response.content_type == "application/json"):
        return body
    raise failure_of_response(
        flow.key if flow else ANY_FLOW,
        flow.id if flow else "",
        status=response.status,
        content_type=response.content_type,
        body=body,
        retry_after=response.headers.get("Retry-After"),
        secret=secret_of(api_key),
    )


async def _read(response: aiohttp.ClientResponse, flow: str) -> bytes:
    length = response.content_length
    if length is not None and length <= MAX_ANSWER:
        return await response.read()
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_ANSWER:
            raise FlowProtocolError(flow, f"the answer is larger than {MAX_ANSWER >> 20} MB")
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


def _headers(secret: str | None) -> dict[str, str]:
    return {} if secret is None else {"Authorization": f"Bearer {secret}"}


def secret_of(api_key: SecretStr | None) -> str | None:
    return api_key.get_secret_value() if api_key is not None else None


@lru_cache(maxsize=64)
def api_address(base_url: str) -> URL:
    """Return the root of a server's API. Raises InvalidSetting where the address is none."""
    try:
        url = URL(base_url.rstrip("/").removesuffix("/api/v1"))
    except ValueError:
        raise InvalidSetting("FLOWISE_BASE_URL", "this is no address") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise InvalidSetting("FLOWISE_BASE_URL", "an address begins with http:// or https:// and names a host")
    return url / "api" / "v1"


@lru_cache(maxsize=4096)
def address(base: URL, call: str, *parts: str) -> URL:
    """Return the address of a call; ids are data and cannot leave their place in the path."""
    return URL("/".join((str(base), call, *(quote(each, safe="") for each in parts))), encoded=True)
