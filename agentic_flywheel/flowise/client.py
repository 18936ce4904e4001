"""Talk to Flowise over HTTP: every wait bounded, every failure named. What to send and what came is decided elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from functools import lru_cache
from typing import Any, Self
from urllib.parse import quote

import aiohttp
from pydantic import SecretStr, ValidationError
from yarl import URL

from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowiseUnreachable, FlowProtocolError, FlowTimeout, InvalidSetting
from agentic_flywheel.flowise.answer import StreamedAnswer, plain_answer, refuse_empty, stored_answer
from agentic_flywheel.flowise.decoding import decode_json
from agentic_flywheel.flowise.failure import clean, failure_of_message, failure_of_response
from agentic_flywheel.flowise.frames import FrameParser
from agentic_flywheel.flowise.listing import read_chatflow, read_chatflows, read_feedback
from agentic_flywheel.flowise.models import Chatflow, Feedback, FlowAnswer, FlowCall, Rating
from agentic_flywheel.flowise.request import encoded

#: Seconds. Flowise closes idle connections after 5: reusing one at that moment loses the call.
KEEPALIVE = 4.0
CONNECT_TIMEOUT = 5.0
#: Seconds for calls that run no flow.
SHORT_TIMEOUT = 10.0
#: Seconds for which a flow's ability to stream is remembered.
STREAMING_TTL = 300.0
#: Seconds that a settled stream may take to close, so that its connection can be used again.
DRAIN_TIMEOUT = 0.2
MAX_ANSWER = 64 * 1024 * 1024

#: Stands for the flow in errors of calls that concern no particular one.
ANY_FLOW = "*"


class FlowiseClient:
    """Calls flows of one Flowise server, or of the ``server`` that a flow names. Use it as an async context manager."""

    def __init__(self, base_url: str, *, session: aiohttp.ClientSession | None = None) -> None:
        """Take the server's address, with or without ``/api/v1``. A given ``session`` stays the caller's to close.

        Raises InvalidSetting where the address is none.
        """
        self._base = _api(base_url)
        self._session = session
        self._owns_session = session is None
        self._streaming: dict[URL, tuple[float, asyncio.Task[bool]]] = {}

    async def __aenter__(self) -> Self:
        self._opened()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close what this client opened."""
        probes = [task for _, task in self._streaming.values()]
        self._streaming.clear()
        for task in probes:
            task.cancel()
        await asyncio.gather(*probes, return_exceptions=True)
        if self._session is not None and self._owns_session:
            await self._session.close()
            self._session = None

    # Asking

    async def predict(
        self,
        call: FlowCall,
        *,
        api_key: SecretStr | None = None,
        on_token: Callable[[str], None] | None = None,
        timeout: float | None = None,
        deadline: float | None = None,
    ) -> FlowAnswer:
        """Ask the flow once and return its answer.

        ``timeout``: seconds of silence after which the call is cut, the flow's own by default; heartbeats are silence.
        ``deadline``: seconds after which it is cut in any case. Raises a FlowError; after FlowTimeout or
        FlowiseUnreachable the flow may still run: look with ``find_answer`` before asking again.
        """
        flow = call.flow
        body = encoded(call)
        silence = flow.timeout.total_seconds() if timeout is None else timeout
        reading = _Reading(flow, silence, deadline)
        try:
            async with (
                asyncio.timeout_at(reading.cut) as reading.limit,
                self._request("POST", self._url(flow, "prediction"), flow, api_key, body) as response,
            ):
                if response.status == 200 and response.content_type == "text/event-stream":
                    answer = await reading.stream(response, on_token, api_key)
                else:
                    answer = plain_answer(flow.key, await _read_answer(response, flow, api_key))
        except TimeoutError:
            raise FlowTimeout(flow.key, round(reading.silent_for, 3)) from None
        except (ValidationError, RecursionError):
            raise FlowProtocolError(flow.key, "a field of the answer has an unexpected form") from None
        return refuse_empty(flow.key, answer.model_copy(update=reading.times()))

    async def can_stream(self, flow: Flow) -> bool:
        """Return whether the flow streams; remembered for some minutes, asked once however many wait.

        Raises FlowNotFound: a streaming request for an unknown flow never answers, so ask this first.
        """
        url = self._url(flow, "chatflows-streaming")
        now = asyncio.get_running_loop().time()
        expires, task = self._streaming.get(url, (0.0, None))
        if task is None or now >= expires:
            task = asyncio.create_task(self._probe(url, flow))
            self._streaming[url] = (now + STREAMING_TTL, task)
        try:
            return await asyncio.shield(task)
        except BaseException:
            if task.done() and self._streaming.get(url, (0.0, None))[1] is task:
                del self._streaming[url]
            raise

    async def find_answer(
        self, flow: Flow, chat_id: str, *, api_key: SecretStr | None = None, timeout: float = SHORT_TIMEOUT
    ) -> FlowAnswer | None:
        """Return the answer that an earlier call got after its caller had given up; None where there is none (yet)."""
        url = self._url(flow, "chatmessage").with_query(chatId=chat_id, order="ASC")
        messages = await self._json("GET", url, flow, api_key, timeout=timeout)
        with _protocol(flow.key):
            return stored_answer(messages, chat_id)

    async def abort(self, flow: Flow, chat_id: str) -> None:
        """Ask Flowise to stop a run. It says yes in any case and often goes on: rely on nothing."""
        await self._json("PUT", self._url(flow, "chatmessage/abort", chat_id), flow, None)

    async def forget(self, flow: Flow, chat_id: str | None = None, *, api_key: SecretStr | None = None) -> int:
        """Delete a chat's messages in Flowise, or all of the flow's; return how many."""
        url = self._url(flow, "chatmessage")
        found = await self._json("DELETE", url.with_query(chatId=chat_id) if chat_id else url, flow, api_key)
        with _protocol(flow.key):
            return int(found["affected"])

    # The server

    async def ping(self) -> timedelta:
        """Return how long the server took to say ``pong``."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        body = await self._bytes("GET", self._base / "ping", None, None)
        if body.strip() != b"pong":
            raise FlowProtocolError(ANY_FLOW, f"no pong but {clean(body[:600].decode(errors='replace'))}")
        return timedelta(seconds=loop.time() - started)

    async def version(self) -> str:
        """Return the server's version, such as ``3.1.4``."""
        found = await self._json("GET", self._base / "version", None, None)
        with _protocol(ANY_FLOW):
            return str(found["version"])

    async def chatflows(self, *, api_key: SecretStr | None = None) -> tuple[Chatflow, ...]:
        """Return all flows that the key may see."""
        found = await self._json("GET", self._base / "chatflows", None, api_key)
        with _protocol(ANY_FLOW):
            return read_chatflows(found)

    async def chatflows_of_key(self, api_key: SecretStr) -> tuple[Chatflow, ...]:
        """Return the flows that are bound to this very key."""
        path = self._base / "chatflows" / "apikey" / api_key.get_secret_value()
        found = await self._json("GET", path.with_query(keyonly="true"), None, None)
        with _protocol(ANY_FLOW):
            return read_chatflows(found)

    async def chatflow(self, flow: Flow, *, api_key: SecretStr | None = None) -> Chatflow:
        """Return what Flowise knows of one flow. Raises FlowNotFound."""
        found = await self._json("GET", self._url(flow, "chatflows"), flow, api_key)
        with _protocol(flow.key):
            return read_chatflow(found)

    # Feedback

    async def feedback(
        self,
        flow: Flow,
        *,
        chat_id: str,
        message_id: str,
        rating: Rating,
        content: str = "",
        api_key: SecretStr | None = None,
    ) -> Feedback:
        """Leave a verdict on one answer, where Flowise's own users see it too."""
        told = {"chatflowid": flow.id, "chatId": chat_id, "messageId": message_id, "rating": rating}
        if content:
            told["content"] = content
        # Without a key only the flow's own address takes it.
        url = self._base_of(flow) / "feedback" if api_key else self._url(flow, "feedback")
        found = await self._json("POST", url, flow, api_key, body=told)
        with _protocol(flow.key):
            return read_feedback(found)

    async def feedbacks(self, flow: Flow, *, api_key: SecretStr | None = None) -> tuple[Feedback, ...]:
        """Return every verdict on the flow's answers."""
        found = await self._json("GET", self._url(flow, "feedback"), flow, api_key)
        with _protocol(flow.key):
            return tuple(read_feedback(each) for each in found)

    async def revise_feedback(
        self, flow: Flow, feedback_id: str, *, rating: Rating, content: str = "", api_key: SecretStr | None = None
    ) -> None:
        """Change an earlier verdict."""
        url = self._base_of(flow) / "feedback" / feedback_id
        await self._json("PUT", url, flow, api_key, body={"rating": rating, "content": content})

    # Exchanges

    async def _probe(self, url: URL, flow: Flow) -> bool:
        found = await self._json("GET", url, flow, None)
        return isinstance(found, dict) and found.get("isStreaming") is True

    async def _json(
        self,
        method: str,
        url: URL,
        flow: Flow | None,
        api_key: SecretStr | None,
        *,
        body: dict[str, Any] | None = None,
        timeout: float = SHORT_TIMEOUT,
    ) -> Any:
        payload = None if body is None else json.dumps(body).encode()
        answered = await self._bytes(method, url, flow, api_key, body=payload, timeout=timeout)
        with _protocol(flow.key if flow else ANY_FLOW):
            return decode_json(answered)

    async def _bytes(
        self,
        method: str,
        url: URL,
        flow: Flow | None,
        api_key: SecretStr | None,
        *,
        body: bytes | None = None,
        timeout: float = SHORT_TIMEOUT,
    ) -> bytes:
        try:
            async with asyncio.timeout(timeout), self._request(method, url, flow, api_key, body) as response:
                return await _read_answer(response, flow, api_key, html=url.name == "ping")
        except TimeoutError:
            raise FlowTimeout(flow.key if flow else ANY_FLOW, timeout) from None

    @contextlib.asynccontextmanager
    async def _request(
        self, method: str, url: URL, flow: Flow | None, api_key: SecretStr | None, body: bytes | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Open one exchange and name whatever breaks it."""
        key = flow.key if flow else ANY_FLOW
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if api_key is not None:
            headers["Authorization"] = f"Bearer {api_key.get_secret_value()}"
        try:
            # A redirect would carry the key elsewhere; Flowise sends none.
            async with self._opened().request(
                method, url, data=body, headers=headers, allow_redirects=False
            ) as response:
                yield response
        except aiohttp.ConnectionTimeoutError:
            raise FlowiseUnreachable(key, f"no connection within {CONNECT_TIMEOUT:g} s") from None
        except aiohttp.ClientPayloadError:
            raise FlowiseUnreachable(key, "the connection broke before the answer was whole") from None
        except (aiohttp.ClientResponseError, aiohttp.InvalidURL) as refused:
            raise FlowProtocolError(key, clean(f"no HTTP: {type(refused).__name__}")) from None
        except (aiohttp.ClientError, ConnectionError) as broken:
            raise FlowiseUnreachable(key, clean(str(broken)) or type(broken).__name__) from None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = new_session()
        return self._session

    def _base_of(self, flow: Flow) -> URL:
        return self._base if flow.server is None else _api(flow.server)

    def _url(self, flow: Flow, call: str, *more: str) -> URL:
        return _address(self._base_of(flow), call, flow.id, *more)


class _Reading:
    """The clock of one call: when it is cut, and what it measured."""

    def __init__(self, flow: Flow, silence: float, deadline: float | None) -> None:
        self._flow, self._silence = flow, silence
        self._now = asyncio.get_running_loop().time
        self._started = self._heard = self._now()
        self._last = self._started + deadline if deadline is not None else float("inf")
        self._first_token: float | None = None
        self._settled: float | None = None
        self.limit: asyncio.Timeout

    @property
    def cut(self) -> float:
        """The moment of the loop's clock at which the call is cut."""
        return min(self._heard + self._silence, self._last)

    @property
    def silent_for(self) -> float:
        return self._now() - self._heard

    def times(self) -> dict[str, timedelta | None]:
        elapsed = (self._settled or self._now()) - self._started
        first = self._first_token
        return {
            "elapsed": timedelta(seconds=elapsed),
            "first_token": None if first is None else timedelta(seconds=first - self._started),
        }

    async def stream(
        self, response: aiohttp.ClientResponse, on_token: Callable[[str], None] | None, api_key: SecretStr | None
    ) -> FlowAnswer:
        """Read a stream to its end. Raises a FlowError."""
        flow = self._flow
        parser, collected = FrameParser(flow.key), StreamedAnswer(flow.key)
        async for chunk in response.content.iter_any():
            events = parser.feed(chunk)
            for event in events:
                text = collected.add(event)
                if not text:
                    continue
                if self._first_token is None:
                    self._first_token = self._now()
                if on_token is not None:
                    on_token(text)
            if collected.settled:
                self._settled = self._now()
                await _drain(response)
                break
            if events:
                self._heard = self._now()
                self.limit.reschedule(self.cut)
        if collected.failure is not None:
            raise failure_of_message(flow.key, flow.id, collected.failure, secret=_secret(api_key))
        return collected.answer()


def new_session() -> aiohttp.ClientSession:
    """Return a session as Flowise needs it. The number of connections is limited by the callers, not here."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


async def _read_answer(
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
        secret=_secret(api_key),
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


async def _drain(response: aiohttp.ClientResponse) -> None:
    with contextlib.suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(DRAIN_TIMEOUT):
            async for _ in response.content.iter_any():
                pass


@contextlib.contextmanager
def _protocol(flow: str) -> Any:
    """Name an answer of an unexpected form."""
    try:
        yield
    except (ValueError, KeyError, TypeError, RecursionError):
        raise FlowProtocolError(flow, "a field of the answer has an unexpected form") from None


def _secret(api_key: SecretStr | None) -> str | None:
    return api_key.get_secret_value() if api_key is not None else None


@lru_cache(maxsize=64)
def _api(base_url: str) -> URL:
    try:
        url = URL(base_url.rstrip("/").removesuffix("/api/v1"))
    except ValueError:
        raise InvalidSetting("FLOWISE_BASE_URL", "this is no address") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise InvalidSetting("FLOWISE_BASE_URL", "an address begins with http:// or https:// and names a host")
    return url / "api" / "v1"


@lru_cache(maxsize=4096)
def _address(base: URL, call: str, *parts: str) -> URL:
    return URL("/".join((str(base), call, *(quote(each, safe="") for each in parts))), encoded=True)
