"""Exchange requests and responses with Flowise over HTTP, and name whatever breaks on the way."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import lru_cache, partial
from types import MappingProxyType, TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
from pydantic import SecretStr
from yarl import URL

from agentic_flywheel.backends.bodies import StreamedBody
from agentic_flywheel.backends.flowise.decoding import decode_json
from agentic_flywheel.backends.flowise.failure import clean, failure_of_response
from agentic_flywheel.backends.flowise.post import Post, prepared_post
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import (
    AnswerTooLong,
    FlowProtocolError,
    FlowTimeout,
    FlowUnauthorized,
    InvalidSetting,
    ServerUnreachable,
)
from agentic_flywheel.errors.flow import ANY_FLOW
from agentic_flywheel.secret_values import secret_texts

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
        body: bytes | StreamedBody | None = None,
        timeout: float = SHORT_TIMEOUT,
    ) -> bytes:
        """Exchange one request for the body of its answer. Raises a FlowError."""
        read = partial(read_answer, flow=flow, secrets=secrets_of(api_key), html=url.name == "ping")
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
    ) -> T:
        """Return what ``read`` makes of the response to a request. Names whatever breaks on the way."""
        key = flow.key if flow else ANY_FLOW
        try:
            async with await self._send(method, url, api_key, body, key) as response:
                return await read(response)
        except aiohttp.ConnectionTimeoutError:
            raise ServerUnreachable(key, f"no connection within {CONNECT_TIMEOUT:g} s", sent=False) from None
        except aiohttp.ClientPayloadError:
            raise ServerUnreachable(key, "the connection broke before the answer was whole") from None
        except (aiohttp.ClientResponseError, aiohttp.InvalidURL) as refused:
            raise FlowProtocolError(key, clean(f"no HTTP: {type(refused).__name__}")) from None
        except (aiohttp.ClientError, ConnectionError) as broken:
            if isinstance(body, StreamedBody) and body.failed is not None:
                raise body.failed from None
            sent = not isinstance(broken, aiohttp.ClientConnectorError)
            raise ServerUnreachable(key, clean(str(broken)) or type(broken).__name__, sent=sent) from None

    async def _send(
        self, method: str, url: URL, api_key: SecretStr | None, body: bytes | StreamedBody | None, flow: str
    ) -> aiohttp.ClientResponse:
        secret = secret_of(api_key)
        if secret is not None and (unfit := _unfit(url, secret)):
            raise FlowUnauthorized(flow, unfit)
        if method == "POST" and isinstance(body, bytes) and self._owns_session:
            post = self._posts.get((url, secret)) or self._prepared(url, secret)
            if post is not None:
                return await post.send(body)
        headers = _headers(url, secret)
        if isinstance(body, StreamedBody):
            headers |= {"Content-Type": body.content_type, "Content-Length": str(body.length)}
        elif body is not None:
            headers["Content-Type"] = "application/json"
        # A redirect would carry the key elsewhere; Flowise sends none.
        return await self._opened().request(
            method, url.with_user(None), data=body, headers=headers, allow_redirects=False
        )

    def _prepared(self, url: URL, secret: str | None) -> Post | None:
        post = prepared_post(self._opened(), url.with_user(None), _headers(url, secret))
        if post is not None:
            if len(self._posts) >= _MAX_POSTS:
                self._posts.clear()
            self._posts[url, secret] = post
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
    response: aiohttp.ClientResponse,
    flow: Flow | None,
    secrets: Collection[str],
    *,
    html: bool = False,
    heard: Callable[[], None] | None = None,
) -> bytes:
    """Return the body of a successful JSON response. Raises the FlowError that any other stands for.

    ``secrets``: what no error may quote. ``heard`` is called for every part that comes.
    """
    body = await _read(response, flow.key if flow else ANY_FLOW, heard)
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
        secrets=secrets,
    )


async def _read(response: aiohttp.ClientResponse, flow: str, heard: Callable[[], None] | None) -> bytes:
    # Counted as it is unpacked: a few packed bytes can stand for gigabytes, and `read` would unpack them all.
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if response.status != 200 and len(body) > MAX_ERROR:
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


def _headers(url: URL, secret: str | None) -> dict[str, str]:
    if secret is not None:
        return {"Authorization": f"Bearer {secret}"}
    if url.raw_user is None and url.raw_password is None:
        return {}
    login = base64.b64encode(f"{url.user or ''}:{url.password or ''}".encode())
    return {"Authorization": f"Basic {login.decode()}"}


def _unfit(url: URL, secret: str) -> str:
    """Return why a key cannot be sent to an address; empty where it can."""
    if url.raw_user is not None or url.raw_password is not None:
        return (
            "its Flowise's address holds a user and a password, and an API key is set too; "
            "both would be the Authorization header: take one of them away"
        )
    return "" if secret.isprintable() else "it holds a character that no header can carry, such as the end of a line"


def secret_of(api_key: SecretStr | None) -> str | None:
    return api_key.get_secret_value() if api_key is not None else None


def secrets_of(api_key: SecretStr | None, config: Mapping[str, Any] = MappingProxyType({})) -> tuple[str, ...]:
    """Return what a call sends that nothing may quote: its key, and the secrets of its configuration."""
    secret = secret_of(api_key)
    return (*([secret] if secret else []), *secret_texts(config))


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
def _address(base: URL, call: str, *parts: str) -> URL:
    """Return the address of a call; ids are data and cannot leave their place in the path."""
    return URL("/".join((str(base), call, *(quote(each, safe="") for each in parts))), encoded=True)


def server_root(base: URL, flow: Flow) -> URL:
    """Return the root of the API that a flow is called at: its own server's, else ``base``. Raises InvalidSetting."""
    return base if flow.server is None else api_address(flow.server)


def flow_address(base: URL, flow: Flow, call: str, *more: str) -> URL:
    """Return the address of a call that concerns one flow. Raises InvalidSetting."""
    return _address(server_root(base, flow), call, flow.id, *more)
