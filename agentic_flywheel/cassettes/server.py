"""A server that records Flowise's responses, or plays recorded ones back in its place."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Literal, Self

import aiohttp
from aiohttp import web

from agentic_flywheel.backends.post import new_session
from agentic_flywheel.cassettes.cassette import Cassette
from agentic_flywheel.cassettes.exchange import Exchange, read_request, read_response, with_ids
from agentic_flywheel.errors import InvalidSetting, RecordingMissing

#: `play` asks nobody; `new` asks Flowise for what is not recorded; `record` asks it for everything.
Mode = Literal["play", "new", "record"]

_SHORTEST_SECRET = 6
_MAX_BODY = 64 * 1024 * 1024
#: Headers that belong to one connection, or that would let a response come in a form that is not kept.
_NOT_FORWARDED = frozenset(
    {"host", "connection", "keep-alive", "transfer-encoding", "content-length", "accept-encoding", "te", "upgrade"}
)


class CassetteServer:
    """Serves on the loopback address, from a thread of its own: tests, event loops and processes may all ask it.

    Use it as a context manager; ``url`` is what FLOWISE_BASE_URL has to be. ``missing`` holds what was asked and had no
    recording.
    """

    def __init__(self, path: Path, *, mode: Mode = "play", flowise_url: str | None = None) -> None:
        """Take a cassette's file and, to record, Flowise's address. Raises InvalidSetting, ResultsUnreadable."""
        if mode != "play" and not flowise_url:
            raise InvalidSetting("FLOWISE_BASE_URL", "recording needs the address of a Flowise, or of the sandbox")
        self.mode = mode
        self.cassette = Cassette(path)
        if mode == "record":
            self.cassette.exchanges.clear()
        self.missing: list[RecordingMissing] = []
        self.url = ""
        self._upstream = (flowise_url or "").rstrip("/").removesuffix("/api/v1")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cassette", daemon=True)
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(30)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application(client_max_size=_MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.3)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        if self.mode != "play":
            self._session = new_session()

    async def _stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def _answer(self, asked: web.Request) -> web.StreamResponse:
        body = await asked.read()
        secret = asked.headers.get("Authorization", "").partition(" ")[2].strip()
        # A short value is no key, and removing it would damage ordinary words in answers.
        secrets = [secret] if len(secret) >= _SHORTEST_SECRET else []
        request = read_request(asked.method, asked.path, asked.query_string, body, secrets)
        if self.mode != "record":
            try:
                played = self.cassette.play(request)
            except RecordingMissing as missing:
                if self.mode == "play":
                    self.missing.append(missing)
                    # Flowise's form of a refusal: whoever asked says it at once, and does not try again.
                    return web.json_response({"message": str(missing)}, status=422)
            else:
                text = with_ids(played.response.body, played.request.ids, request.ids)
                return await _sent(asked, played, text)
        return await self._recorded(asked, body, secrets)

    async def _recorded(self, asked: web.Request, body: bytes, secrets: list[str]) -> web.StreamResponse:
        assert self._session is not None
        headers = {name: value for name, value in asked.headers.items() if name.lower() not in _NOT_FORWARDED}
        url = f"{self._upstream}{asked.raw_path}"
        try:
            async with self._session.request(
                asked.method, url, data=body or None, headers=headers, allow_redirects=False
            ) as answered:
                response = web.StreamResponse(status=answered.status, headers=_kept_headers(answered))
                await response.prepare(asked)
                received = bytearray()
                async for chunk in answered.content.iter_any():
                    received += chunk
                    await response.write(chunk)
                await response.write_eof()
                kept = read_response(
                    answered.status,
                    answered.content_type,
                    answered.headers.get("Retry-After"),
                    bytes(received),
                    secrets,
                )
        except aiohttp.ClientError as broken:
            # Not kept: a cassette holds what Flowise says, not that it was away.
            return web.json_response({"message": f"Flowise cannot be reached: {type(broken).__name__}"}, status=502)
        request = read_request(asked.method, asked.path, asked.query_string, body, secrets)
        self.cassette.add(Exchange(request=request, response=kept))
        self.cassette.save()
        return response


def _kept_headers(answered: aiohttp.ClientResponse) -> dict[str, str]:
    return {name: answered.headers[name] for name in ("Content-Type", "Retry-After") if name in answered.headers}


async def _sent(asked: web.Request, played: Exchange, text: str) -> web.StreamResponse:
    kept = played.response
    headers = {"Content-Type": kept.content_type, **({"Retry-After": kept.retry_after} if kept.retry_after else {})}
    response = web.StreamResponse(status=kept.status, headers=headers)
    await response.prepare(asked)
    await response.write(text.encode("utf-8", "surrogateescape"))
    await response.write_eof()
    return response
