"""Server-sent events: frames as they come, a comment while none come, and a client that goes away.

A client that goes away ends its stream and nothing else; with FLYWHEEL_HTTP_STOP its query is cancelled too.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

from starlette.responses import StreamingResponse

from agentic_flywheel.errors import FlywheelError
from http_gateway.callers import GatewayCaller

#: Seconds of silence after which a comment is sent: proxies and browsers close silent connections after a minute or so.
KEEP_ALIVE = 15.0
#: A line that clients ignore.
COMMENT = b": still here\n\n"
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def frame(data: Any, *, event: str | None = None, id: str | None = None, retry: int | None = None) -> bytes:
    """Return one frame; ``data`` is a text, or becomes JSON. ``retry``: milliseconds before a client comes back."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    lines = [f"id: {id}"] if id is not None else []
    lines += [f"event: {event}"] if event is not None else []
    lines += [f"retry: {retry}"] if retry is not None else []
    # The protocol knows three ends of a line; each line of data says that it is one.
    lines += [f"data: {line}" for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    return ("\n".join(lines) + "\n\n").encode("utf-8", "replace")


async def kept_alive(
    frames: AsyncIterator[bytes], *, every: float | None = None, comment: bytes = COMMENT
) -> AsyncGenerator[bytes, None]:
    """Yield the frames, and the comment after each ``every`` seconds (``KEEP_ALIVE`` by default) without one."""
    pause = KEEP_ALIVE if every is None else every
    coming: asyncio.Task[bytes] | None = None
    try:
        while True:
            coming = coming or asyncio.create_task(_next(frames))
            if not (await asyncio.wait([coming], timeout=pause))[0]:
                yield comment
                continue
            done, coming = coming, None
            try:
                each = done.result()
            except StopAsyncIteration:
                return
            yield each
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
        if isinstance(frames, AsyncGenerator):
            await frames.aclose()


async def _next(frames: AsyncIterator[bytes]) -> bytes:
    return await anext(frames)


def event_stream(
    frames: AsyncIterator[bytes],
    caller: GatewayCaller,
    query_id: str | None = None,
    *,
    every: float | None = None,
    headers: Mapping[str, str] | None = None,
) -> StreamingResponse:
    """Return the response that streams frames. ``query_id``: the query to cancel, if the setting says so, where the
    client goes away before the last frame.
    """
    return StreamingResponse(
        _until_gone(kept_alive(frames, every=every), caller, query_id),
        media_type="text/event-stream",
        headers={**HEADERS, **(headers or {})},
    )


async def _until_gone(
    frames: AsyncGenerator[bytes, None], caller: GatewayCaller, query_id: str | None
) -> AsyncIterator[bytes]:
    whole = False
    try:
        async for each in frames:
            yield each
        whole = True
    finally:
        if not whole and query_id is not None and caller.gateway.settings.http_stop:
            # This task is being cancelled: what is left to do goes on in another.
            caller.gateway.bridge.keep(asyncio.create_task(_cancel(caller, query_id)))
        await frames.aclose()


async def _cancel(caller: GatewayCaller, query_id: str) -> None:
    with suppress(FlywheelError):  # it has ended by itself, or the broker is away: it goes on, as without the setting
        await caller.producer.cancel(query_id)
