"""Read and write HTTP as Flowise's web server does, also where that is unusual."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

#: The answer to a wrong path or method, with status 200.
PAGE = "<!DOCTYPE html><html><head><title>Flowise</title></head><body><div id='root'></div></body></html>"
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def encode(value: Any) -> bytes:
    """Return JSON in the form of JavaScript's ``JSON.stringify``."""
    return _ENCODER.encode(value).encode()


def json_response(value: Any, headers: dict[str, str] | None = None, *, status: int = 200) -> web.Response:
    body = encode(value)
    return web.Response(
        status=status, body=body, headers={"Content-Type": "application/json; charset=utf-8", **(headers or {})}
    )


def problem(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """Return an error in Flowise's form."""
    return json_response(
        {"statusCode": status, "success": False, "message": message, "stack": {}}, headers, status=status
    )


def unauthorized() -> web.Response:
    """Return the management API's answer to a wrong key."""
    return json_response({"error": "Unauthorized Access"}, status=401)


def given_key(request: web.Request) -> str | None:
    """Return the API key of a request, with or without the word ``Bearer`` before it."""
    given = request.headers.get("Authorization")
    return None if given is None else given.removeprefix("Bearer ").strip()


async def json_body(request: web.Request) -> dict[str, Any]:
    """Return a request's body; empty where the content type is not JSON. Raises ValueError for invalid JSON."""
    if request.content_type.startswith("multipart/"):
        form = await request.post()
        return {key: value for key, value in form.items() if isinstance(value, str)}
    try:
        body = await request.read()
    except ConnectionError:
        raise ValueError("request aborted") from None
    if request.content_type != "application/json" or not body.strip():
        return {}
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("Unexpected end of JSON input") from None
    return found if isinstance(found, dict) else {}


def gone(request: web.Request) -> bool:
    """Return whether the client has left."""
    return request.transport is None or request.transport.is_closing()


def broken(request: web.Request) -> web.Response:
    """Break the connection."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503)


async def silence(request: web.Request, closing: asyncio.Event) -> web.Response:
    """Send nothing until the client leaves or the server closes."""
    while not (gone(request) or closing.is_set()):
        try:
            async with asyncio.timeout(0.25):
                await closing.wait()
        except TimeoutError:
            pass
    return web.Response(status=503)
